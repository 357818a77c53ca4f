import numpy as np
import pytest

from mmdist.heads import palettes
from mmdist.heads import worlds
from mmdist.heads.clay import clay_attributes
from mmdist.heads.clay import parameters as head_parameters

CLAY = worlds.get('clay')

Attributes = clay_attributes.Attributes


@pytest.fixture(scope='module')
def sampled():
  """Three hundred heads as priors are trained on."""
  rng = np.random.default_rng(0)
  return [CLAY.attributes.sample_training(rng) for _ in range(300)]


def test_all_heads_have_the_same_finite_float32_parameters(sampled):
  rng = np.random.default_rng(3)
  expected = None
  for a in sampled:
    p = head_parameters.shape_parameters(a, rng)
    shapes = {name: value.shape for name, value in p.items()}
    expected = expected or shapes
    assert shapes == expected
    assert all(value.dtype == np.float32 for value in p.values())
    assert all(np.isfinite(value).all() for value in p.values())
    for name, value in p.items():
      if name.startswith('color_'):
        assert value.shape == (3,) and (0 <= value).all() and (value <= 1).all()


def test_parameters_say_what_the_attributes_say(sampled):
  rng = np.random.default_rng(4)
  for a in sampled[:200]:
    p = head_parameters.shape_parameters(a, rng)
    assert palettes.HATS[int(p['hat'])] == a.hat
    assert clay_attributes.HAIR_STYLES[int(p['hair_style'])] == a.hair_style
    assert clay_attributes.BEARDS[int(p['beard'])] == a.beard
    assert palettes.GLASSES[int(p['glasses'])] == a.glasses
    assert (bool(p['horns']), bool(p['headphones'])) == (a.horns, a.headphones)
    skin = palettes.SKINS[a.skin]
    # Five sigmas of the jitter: 0.022 each and 0.022 in common.
    np.testing.assert_allclose(p['color_skin'], skin, atol=0.16)


def test_expressions_differ_more_than_people_do():
  rng = np.random.default_rng(5)

  def moves(expression):
    attributes = Attributes(expression=expression)
    drawn = [
      head_parameters.shape_parameters(attributes, rng) for _ in range(20)
    ]
    names = ('mouth_curve', 'mouth_open', 'mouth_width', 'brow_tilt')
    return np.array([[p[name] for name in names] for p in drawn])

  groups = {e: moves(e) for e in clay_attributes.EXPRESSIONS}
  for first, a in groups.items():
    for second, b in groups.items():
      if first < second:
        between = np.abs(a.mean(0) - b.mean(0))
        within = np.maximum(a.std(0), b.std(0)) + 1e-6
        assert np.max(between / within) > 5


def test_children_have_larger_eyes_and_old_people_longer_noses():
  def mean(kind, name):
    rng = np.random.default_rng(6)
    attributes = Attributes(kind=kind)
    drawn = [
      head_parameters.shape_parameters(attributes, rng)[name] for _ in range(60)
    ]
    return np.mean(drawn)

  assert mean('child', 'eye_size') > 1.1 * mean('man', 'eye_size')
  assert mean('old man', 'nose') > 1.1 * mean('man', 'nose')
  assert mean('woman', 'neck') < 0.9 * mean('man', 'neck')


def test_aliens_and_jokers_and_devils_have_features_of_their_own():
  def draw(name, field):
    rng = np.random.default_rng(7)
    return head_parameters.shape_parameters(Attributes(name=name), rng)[field]

  assert draw('alien', 'eye_size') > 1.3
  assert draw('joker', 'color_lip')[0] > 2 * draw('joker', 'color_lip')[1]
  assert draw('devil', 'color_horns').sum() < draw('', 'color_horns').sum()
