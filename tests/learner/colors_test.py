import numpy as np
import pytest

from mmdist.learner import colors

GREYS = np.float32([[0.4] * 3, [0.9] * 3])


def render(rgb, acc, size=4):
  """Composites views of one colour and opacity over the greys."""
  rgb = np.broadcast_to(
    np.float32(rgb)[:, None, None], (len(rgb), size, size, 3)
  )
  acc = np.full((len(rgb), size, size), acc, np.float32)
  shown = acc[..., None] * rgb + (1 - acc[..., None]) * GREYS[:, None, None]
  return shown, acc, GREYS


@pytest.mark.parametrize('acc', [1.0, 0.6])
def test_the_background_is_taken_out(acc):
  stats = colors.measure(*render([[0.8, 0.2, 0.1], [0.6, 0.2, 0.3]], acc))
  assert stats['saturation'] == pytest.approx((7 / 8 + 2 / 3) / 2, abs=1e-5)
  found = [stats[name] for name in colors.NAMES]
  assert found == pytest.approx([0.7, 0.2, 0.2], abs=1e-6)


def test_the_variance_is_that_of_a_mean_of_so_many_views():
  stats = colors.measure(*render([[0.8, 0.2, 0.1], [0.6, 0.2, 0.3]], 1.0))
  # Two channels differ by 0.2: unbiased variances of 0.02 each, of two views.
  assert stats['color_variance'] == pytest.approx(2 * 0.02 / 2, rel=1e-4)


def test_many_draws_of_views_have_the_variance_that_is_told():
  rng = np.random.default_rng(0)
  stats = [
    colors.measure(*render(rng.uniform(0.3, 0.7, (2, 3)), 1.0, size=1))
    for _ in range(2000)
  ]
  means = np.array([[row[name] for name in colors.NAMES] for row in stats])
  told = np.mean([row['color_variance'] for row in stats])
  assert told == pytest.approx(means.var(0).sum(), rel=0.1)


def test_a_view_that_does_not_show_the_head_does_not_count():
  rgb, acc, greys = render([[0.8, 0.2, 0.1], [0.0, 0.0, 0.9]], 1.0)
  acc[1] = 0.1
  stats = colors.measure(rgb, acc, greys)
  assert stats['color/blue'] == pytest.approx(0.1)
  assert 'color_variance' not in stats
  assert colors.measure(rgb, 0 * acc, greys) == {}


def test_grey_and_black_have_no_saturation():
  stats = colors.measure(*render([[0.0] * 3, [0.5] * 3], 1.0))
  assert stats['saturation'] == pytest.approx(0, abs=1e-6)
