import dataclasses

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import head_records
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.heads.people import attributes as people_attributes
from tests.heads import fake_pictures

PEOPLE = worlds.get('people')


def same(a: head_records.Head, b: head_records.Head) -> bool:
  return a.attributes == b.attributes and all(
    np.array_equal(a.parameters[name], b.parameters[name])
    for name in a.parameters
  )


def test_a_head_depends_on_seed_and_index_alone():
  assert same(
    subjects.sample_head(PEOPLE, 1, 5), subjects.sample_head(PEOPLE, 1, 5)
  )
  assert not same(
    subjects.sample_head(PEOPLE, 1, 5), subjects.sample_head(PEOPLE, 1, 6)
  )
  assert not same(
    subjects.sample_head(PEOPLE, 1, 5), subjects.sample_head(PEOPLE, 2, 5)
  )


def test_held_out_combinations_come_only_when_allowed():
  default = [subjects.sample_head(PEOPLE, 0, i) for i in range(400)]
  allowed = [
    subjects.sample_head(PEOPLE, 0, i, allow_held_out=True) for i in range(400)
  ]
  assert not any(PEOPLE.attributes.is_held_out(h.attributes) for h in default)
  shown = [PEOPLE.attributes.is_held_out(h.attributes) for h in allowed]
  assert any(shown)
  # Where nothing was refused, it is the same head.
  for held_out, a, b in zip(shown, default, allowed, strict=True):
    assert held_out or same(a, b)


def test_a_held_out_combination_may_be_asked_for():
  fixed = {'skin': 'green', 'hat': 'hat', 'hat_color': 'red'}
  head = subjects.sample_head(PEOPLE, 0, 0, fixed=fixed)
  assert PEOPLE.attributes.is_held_out(head.attributes)


def test_a_head_of_unknown_attributes_is_refused():
  strange = dataclasses.replace(people_attributes.Attributes(), skin='plaid')
  with pytest.raises(ValueError, match="skin='plaid'"):
    subjects.make_head(PEOPLE, strange, np.random.default_rng(0))


def test_pictures_depend_on_head_and_view_alone(people, views, pictures):
  order = [5, 2]
  again = subjects.render_heads(
    PEOPLE, [people[i] for i in order], views.take(order), 64, num_threads=1
  )
  np.testing.assert_array_equal(again.rgba, pictures.rgba[order])
  np.testing.assert_array_equal(again.normals, pictures.normals[order])


def test_pictures_lie_in_the_unit_cube_premultiplied(pictures):
  rgb, alpha = pictures.rgba[..., :3], pictures.rgba[..., 3:]
  assert pictures.rgba.dtype == pictures.normals.dtype == np.float32
  assert rgb.min() >= 0 and (rgb <= alpha + 1e-6).all()
  assert pictures.normals.min() >= 0 and pictures.normals.max() <= 1


def test_over_is_the_over_operator_pixel_by_pixel(pictures):
  backgrounds = np.random.default_rng(0).uniform(size=(8, 3))
  shown = pictures.over(backgrounds)
  for n, row, column in ((0, 0, 0), (3, 32, 32), (5, 18, 40), (7, 62, 4)):
    r, g, b, a = pictures.rgba[n, row, column]
    expected = np.array([r, g, b]) + (1 - a) * backgrounds[n]
    np.testing.assert_allclose(shown[n, row, column], expected, rtol=1e-6)
  np.testing.assert_allclose(shown[:, 0, 0], backgrounds, rtol=1e-6)


def test_one_background_serves_all_pictures(pictures):
  grey = np.full(3, 0.6)
  np.testing.assert_array_equal(
    pictures.over(grey), pictures.over(np.tile(grey, (8, 1)))
  )


def test_skins_and_hats_have_the_colours_that_were_asked(people, pictures):
  rgb = pictures.rgba[4, ..., :3]  # Green skin, a red hat, from the front.
  cheek, hat = rgb[38:44, 26:38].mean((0, 1)), rgb[10:18, 24:40].mean((0, 1))
  assert people[4].attributes.hat_color == 'red'
  assert np.argmax(cheek) == 1 and np.argmax(hat) == 0
  assert hat[0] > 2 * hat[1]


def test_a_head_fills_about_seventy_percent_of_the_height(pictures):
  rows = np.flatnonzero(pictures.rgba[4, ..., 3].max(-1) > 0.5)
  # Shoulders reach the lower edge; the hat of this one ends in the upper
  # fifth.
  assert rows[-1] == 63 and 0 < rows[0] < 13


def test_one_view_per_head_is_expected(people):
  with pytest.raises(ValueError, match='8 heads but 3 views'):
    subjects.render_heads(PEOPLE, people, orbits.turntable(3))


@pytest.mark.parametrize('resolution', [0, 2, 30, -4])
def test_resolutions_are_multiples_of_four(people, resolution):
  with pytest.raises(ValueError, match='multiple of 4'):
    subjects.render_heads(PEOPLE, people[:1], orbits.turntable(1), resolution)


def test_a_multiview_set_holds_the_heads_of_its_family(monkeypatch):
  drawn = []

  def render_heads(world, people, views, resolution):
    drawn.append((people, views))
    return fake_pictures.render_heads(world, people, views, resolution)

  monkeypatch.setattr(subjects, 'render_heads', render_heads)
  made = subjects.multiview_set(PEOPLE, 4, 2, 3, 8)
  assert made.images.shape == (2, 3, 8, 8, 4)
  for index, (people, views) in enumerate(drawn):
    assert all(
      same(h, subjects.sample_head(PEOPLE, 4, index, True)) for h in people
    )
    cameras = views.cameras()
    np.testing.assert_array_equal(
      made.camera_to_world[index], cameras.camera_to_world
    )
    np.testing.assert_array_equal(
      made.tan_half_fov[index], cameras.tan_half_fov
    )
  # Straight alpha: the colour of the square is not darkened twice.
  assert (made.images[:, :, 4:] == [64, 64, 64, 255]).all()


def test_every_second_subject_of_an_expressive_set_has_an_expression(
  monkeypatch,
):
  drawn = []

  def render_heads(world, people, views, resolution):
    drawn.append(people[0])
    return fake_pictures.render_heads(world, people, views, resolution)

  monkeypatch.setattr(subjects, 'render_heads', render_heads)
  for expressive in (False, True):
    subjects.multiview_set(PEOPLE, 4, 24, 1, 8, expressive=expressive)
  plain, expressive = (
    [head.attributes.expression for head in some]
    for some in (drawn[:24], drawn[24:])
  )
  assert set(plain) == set(expressive[::2]) == {'neutral'}
  assert len(set(expressive[1::2])) >= 5
