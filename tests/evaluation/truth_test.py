import math

import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from mmdist.evaluation import truth

SHAPE = (2, 16, 16)


def random_normals(seed):
  normals = np.random.default_rng(seed).normal(size=(*SHAPE, 3))
  return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def turned(normals, angle):
  """Turns [..., 3] about y; those in its plane move by the whole angle."""
  c, s = math.cos(angle), math.sin(angle)
  return normals @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def pictures(seed):
  rng = np.random.default_rng(seed)
  return {
    'rgb': rng.uniform(size=(*SHAPE, 3)),
    'normals': (random_normals(seed) + 1) / 2,
    'acc': np.ones(SHAPE),
  }


@pytest.mark.parametrize('degrees', [0, 1e-3, 10, 90, 180])
def test_a_turn_of_the_normals_is_found(degrees):
  normals = random_normals(0) * (1, 0, 1)
  normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
  other = turned(normals, math.radians(degrees))
  acc = np.ones(SHAPE)
  error = truth.normal_error_deg((normals + 1) / 2, acc, (other + 1) / 2, acc)
  assert error == pytest.approx(degrees, rel=1e-6, abs=1e-9)


def test_normals_are_compared_where_both_show_the_head():
  first, second = (random_normals(0) + 1) / 2, (random_normals(0) + 1) / 2
  left, top = np.zeros(SHAPE), np.zeros(SHAPE)
  left[:, :, :8], top[:, :8] = 1, 1
  first[:, 8:] = 1 - first[:, 8:]  # Only the first shows a head there,
  second[:, :, 8:] = 0.3  # or only the second.
  assert truth.normal_error_deg(first, left, second, top) == pytest.approx(0)


def test_heads_that_do_not_meet_have_no_normal_error():
  normals = (random_normals(0) + 1) / 2
  empty, full = np.zeros(SHAPE), np.ones(SHAPE)
  assert math.isnan(truth.normal_error_deg(normals, full, normals, empty))


def test_psnr_and_ssim_are_means_over_views():
  shown, true = pictures(0), pictures(1)
  true['rgb'][1] = 0.9 * shown['rgb'][1]  # Views differ in how near they are.
  row = truth.compare(shown, true)
  pairs = list(zip(shown['rgb'], true['rgb']))
  psnr = [
    skimage_metrics.peak_signal_noise_ratio(b, a, data_range=1)
    for a, b in pairs
  ]
  ssim = [
    skimage_metrics.structural_similarity(
      a,
      b,
      data_range=1,
      channel_axis=-1,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
    )
    for a, b in pairs
  ]
  assert row['psnr'] == pytest.approx(np.mean(psnr))
  assert row['ssim'] == pytest.approx(np.mean(ssim), abs=1e-6)


def test_the_truth_itself_is_perfect():
  row = truth.compare(pictures(0), pictures(0))
  assert row == {
    'psnr': math.inf,
    'ssim': pytest.approx(1),
    'normal_error_deg': pytest.approx(0),
  }


def test_pictures_of_other_views_are_refused():
  other = {name: picture[:1] for name, picture in pictures(0).items()}
  with pytest.raises(ValueError, match="truth's rgb has shape .* expected"):
    truth.compare(pictures(0), other)
