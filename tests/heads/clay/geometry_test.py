import numpy as np
import pytest

from mmdist.heads import palettes
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.heads.clay import clay_attributes
from mmdist.heads.clay import geometry as head_geometry
from mmdist.heads.clay import sdf

CLAY = worlds.get('clay')


def points_around(count=4000, seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(-1.2, 1.2, (count, 3)).astype(np.float32)


def head_with(**fixed):
  return subjects.sample_head(CLAY, 3, 0, fixed=fixed).parameters


@pytest.mark.parametrize('index', range(6))
def test_distances_grow_no_faster_than_the_march_allows(distance, index):
  head = subjects.sample_head(CLAY, 21, index)
  rng = np.random.default_rng(index)
  start = points_around(4000, index)
  step = rng.normal(size=start.shape).astype(np.float32)
  step *= 0.05 / np.linalg.norm(step, axis=-1, keepdims=True)
  before = np.asarray(distance(start, head.parameters))
  after = np.asarray(distance(start + step, head.parameters))
  slope = (before - after) / 0.05
  outside = (before > 0.02) & (before < sdf.FAR_AWAY - 1)
  # The march steps 0.85 of the distance: slopes up to 1.18 cannot jump in.
  # Steeper places are deep in folds, and few.
  assert np.mean(slope[outside] > 1 / head_geometry.STEP_SAFETY) < 0.01


def test_heads_are_mirror_symmetric(distance, people):
  points = points_around()
  mirrored = points * np.array([-1, 1, 1], np.float32)
  for head in people[:3]:
    np.testing.assert_array_equal(
      distance(points, head.parameters), distance(mirrored, head.parameters)
    )


def test_heads_stay_within_the_scenes_ball_but_for_the_chest(distance, people):
  unit = points_around()
  unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
  above = unit[unit[:, 1] > -0.5] * 1.4
  for head in people:
    assert np.min(distance(above, head.parameters)) > 0


WEAR = {
  'hat': palettes.HATS[1:],
  'hair_style': clay_attributes.HAIR_STYLES[1:],
  'beard': clay_attributes.BEARDS[1:],
  'glasses': palettes.GLASSES[1:],
  'horns': (True,),
  'headphones': (True,),
  'red_nose': (True,),
}
PART = {'hair_style': 'hair'}
BARE = {
  'kind': 'man',
  'name': '',
  'hair_style': 'bald',
  'hat': '',
  'beard': '',
  'glasses': '',
  'horns': False,
  'headphones': False,
  'pointed_ears': False,
  'red_nose': False,
}


def test_a_bare_head_wears_nothing(part_distances):
  found = part_distances(points_around(), head_with(**BARE))
  for field in WEAR:
    d = found[PART.get(field, field)]
    assert np.min(d) > 1.0, field


@pytest.mark.parametrize(
  'field, value', [(f, value) for f, values in WEAR.items() for value in values]
)
def test_what_is_worn_is_somewhere_at_the_surface(part_distances, field, value):
  points = points_around(16000)
  found = part_distances(points, head_with(**{**BARE, field: value}))
  part = PART.get(field, field)
  others = np.stack([d for name, d in found.items() if name != part])
  # Inside this part and outside all the others.
  assert np.any((found[part] < 0) & (others.min(0) > 0))


def test_pointed_ears_reach_further_out(distance):
  tip = np.array([[0.66, 0.28, -0.15]], np.float32)
  bare = {**BARE, 'hair_style': 'bald'}
  assert distance(tip, head_with(**bare))[0] > 0.03
  assert distance(tip, head_with(**{**bare, 'pointed_ears': True}))[0] < 0.0


def test_a_hat_presses_the_hair_under_it_down_but_a_crown_does_not(
  part_distances,
):
  top = np.array([[0.0, 0.70, -0.1]], np.float32)
  hair = {
    hat: float(
      part_distances(
        top, head_with(**{**BARE, 'hair_style': 'afro', 'hat': hat})
      )['hair'][0]
    )
    for hat in ('', 'hat', 'crown')
  }
  assert hair[''] < 0 and hair['crown'] < 0 and hair['hat'] > 0.2


def test_a_happy_mouth_curls_up_and_a_sad_one_down(part_distances):
  def height_of_lips(parameters, x):
    y = np.linspace(-0.6, 0.0, 1000)
    z = np.full_like(y, 0.482 - 1.05 * x * x)
    points = np.stack([np.full_like(y, x), y, z], -1)
    lips = part_distances(points, parameters)['lip']
    return y[lips < 0].mean()

  def curl(expression):
    p = head_with(**BARE, expression=expression)
    return height_of_lips(p, 0.12) - height_of_lips(p, 0.0)

  assert curl('happy') > 0.02
  assert abs(curl('neutral')) < 0.01
  assert curl('sad') < -0.02


def test_colours_lie_in_the_unit_cube_and_are_finite(albedo, people):
  points = points_around()
  for head in people[:3]:
    colors = albedo(points, head.parameters, 0.02)
    assert np.min(colors) >= 0 and np.max(colors) <= 1


@pytest.mark.parametrize(
  'point, color',
  [
    ((0.0, 0.42, 0.45), 'color_skin'),  # The forehead.
    ((0.0, -1.2, 0.24), 'color_clothes'),
  ],
)
def test_parts_have_their_colour(albedo, point, color):
  parameters = head_with(**BARE)
  found = albedo([point], parameters, 1e-3)
  np.testing.assert_allclose(found[0], parameters[color], atol=0.02)


def test_a_wide_footprint_mixes_the_colours_of_neighbours(albedo):
  parameters = head_with(**BARE)
  # Half of the collar, half of the neck: skin and cloth within a pixel.
  y = np.linspace(-0.9, -0.5, 200)
  line = np.stack([0 * y, y, 0.16 + 0 * y], -1).astype(np.float32)
  sharp = albedo(line, parameters, 1e-3)
  soft = albedo(line, parameters, 0.2)
  steepest = [np.abs(np.diff(colors, axis=0)).max() for colors in (sharp, soft)]
  assert steepest[1] < 0.5 * steepest[0]
