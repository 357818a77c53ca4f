import numpy as np
import pytest

from mmdist.core import errors
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import bodies
from mmdist.heads.people import pieces
from tests.heads.people import photos

HEAD = people_attributes.Attributes


def test_a_body_follows_from_words_and_state_alone():
  for words in ({}, {'hair_style': 'long', 'beard': 'beard', 'hat': 'crown'}):
    once = photos.photograph(photos.person(1, **words), 'quarter', 'mouth')
    again = photos.photograph(photos.person(1, **words), 'quarter', 'mouth')
    for a, b in zip(once, again, strict=True):
      np.testing.assert_array_equal(a, b)


def test_another_state_is_another_person():
  a, b = photos.picture('front', 1), photos.picture('front', 2)
  assert photos.changed(a, b).mean() > 0.05


def test_a_body_takes_one_number_from_the_generator():
  rng, other = np.random.default_rng(0), np.random.default_rng(0)
  bodies.make(HEAD(hair_style='bald'), rng)
  other.integers(2**62)
  assert rng.random() == other.random()


@pytest.mark.parametrize('view', photos.VIEWS)
def test_pictures_are_premultiplied_and_finite(view):
  body = photos.person(4, hair_style='long', glasses='glasses')
  rgba, normals, depth = (a[0] for a in photos.photograph(body, view))
  assert rgba.dtype == normals.dtype == depth.dtype == np.float32
  assert np.isfinite(rgba).all() and np.isfinite(normals).all()
  assert rgba.min() >= 0 and rgba.max() <= 1 + 1e-6
  assert (rgba[..., :3] <= rgba[..., 3:] + 1e-5).all()
  background = rgba[..., 3] == 0
  assert (normals[background] == 0.5).all()
  assert np.isinf(depth[background]).all()
  assert np.isfinite(depth[~background]).all()
  length = np.linalg.norm(normals * 2 - 1, axis=-1)
  # A pixel that is partly covered has a shorter normal.
  np.testing.assert_allclose(length, rgba[..., 3], atol=2e-3)


def test_a_whole_head_fills_most_of_the_frame():
  for seed in range(4):
    alpha = photos.picture('front', seed)[..., 3]
    rows = np.flatnonzero(alpha.any(1))
    top, size = rows.min() / len(alpha), 1.9 / len(alpha)
    # From 0.03 below the upper edge: hair is in, and little is left over.
    assert 0.03 < top < 0.22, (seed, top)
    assert rows.max() == len(alpha) - 1 and size > 0


def test_the_head_stays_within_the_scene():
  for words in ({'hat': 'wizard hat'}, {'hair_style': 'mohawk'}):
    vertices = photos.person(5, **words).film.mesh.vertices
    assert np.linalg.norm(vertices, axis=1).max() < 1.4


@pytest.mark.parametrize('view', ['front', 'nose', 'chest'])
def test_normals_of_skin_are_those_of_the_surface_in_depth(view):
  body = photos.person(6, hair_style='bald')
  azimuth, _, _, half = photos.VIEWS[view]
  rgba, normals, depth = (
    a[0] for a in photos.photograph(body, view, resolution=128)
  )
  tan, size = half / 3.4, len(depth)
  ticks = ((np.arange(size) + 0.5) / size * 2 - 1) * tan
  x, y = np.meshgrid(ticks, -ticks)
  with np.errstate(invalid='ignore'):
    points = np.stack([x * depth, y * depth, -depth], -1)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    up = points[:-2, 1:-1] - points[2:, 1:-1]
    found = np.cross(across, up)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
  elevation = photos.VIEWS[view][1]
  back = np.array(
    [
      np.cos(elevation) * np.sin(azimuth),
      np.sin(elevation),
      np.cos(elevation) * np.cos(azimuth),
    ]
  )
  right = np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
  axes = np.stack([right, np.cross(back, right), back])
  seen = (normals * 2 - 1)[1:-1, 1:-1]
  cosine = np.einsum('hwc,hwc->hw', found @ axes, seen)
  good = np.isfinite(cosine) & (rgba[1:-1, 1:-1, 3] == 1)
  # The mesh is coarse beside its smooth normals, and lips and eyes have edges.
  assert np.median(cosine[good]) > 0.985
  assert (cosine[good] > 0.8).mean() > 0.9


def test_light_varies_between_people_and_spares_colour():
  sides = []
  for seed in range(8):
    picture = photos.picture('front', seed, hair_style='bald', skin='white')
    face = picture[16:36]
    sides.append(face[:, 14:22, 1].mean() - face[:, 26:34, 1].mean())
  assert min(sides) < -0.02 and max(sides) > 0.02


def test_odd_pictures_are_refused():
  with pytest.raises(errors.UserError, match='resolution=9; expected an even'):
    photos.photograph(photos.person(1), 'front', resolution=9)


def test_unknown_words_are_refused():
  with pytest.raises(errors.UserError, match="hat='het'"):
    bodies.make(HEAD(hat='het'), np.random.default_rng(0))


def test_supersampling_only_smooths():
  body = photos.person(2, hair_style='afro')
  poses, tans = np.eye(3, 4)[None], np.array([0.3])
  poses[0, 2, 3] = 3.4
  rough = bodies.render(body, poses, tans, 32, 1)[0]
  smooth = bodies.render(body, poses, tans, 32, 3)[0]
  assert set(np.unique(rough[..., 3])) == {0.0, 1.0}
  assert len(np.unique(smooth[..., 3])) > 4
  assert np.abs(rough - smooth).mean() < 0.05


def test_every_material_is_on_a_head():
  body = photos.person(1, hat='hat', horns=True)
  assert set(body.film.mesh.materials) == {
    pieces.SKIN,
    pieces.EYE,
    pieces.HARD,
    pieces.CLOTH,
    pieces.HAIR,
    pieces.TEETH,
  }
