"""What each word does to pictures, and what it leaves alone."""

import numpy as np
import pytest

from mmdist.heads import palettes
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import expressions
from mmdist.heads.people import pieces
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skin as people_skin
from tests.heads.people import photos

# What differs from the plain person, and from where it is seen.
SEEN = (
  ('front', {'age': 'old'}),
  ('front', {'kind': 'woman'}),
  ('front', {'kind': 'boy'}),
  ('front', {'skin': 'green'}),
  ('nose', {'freckles': True}),
  ('side', {'hair_style': 'long'}),
  ('side', {'hair_style': 'curly'}),
  ('front', {'hair_style': 'bob'}),
  ('side', {'hair_style': 'bun'}),
  ('front', {'hair_style': 'afro'}),
  ('front', {'hair_style': 'mohawk'}),
  ('side', {'hair_style': 'ponytail'}),
  ('front', {'hair_style': 'bald'}),
  ('front', {'hair_color': 'pink'}),
  ('front', {'hat': 'hat'}),
  ('front', {'hat': 'top hat'}),
  ('front', {'hat': 'beanie'}),
  ('front', {'hat': 'wizard hat'}),
  ('front', {'hat': 'cap'}),
  ('front', {'hat': 'crown'}),
  ('front', {'glasses': 'glasses'}),
  ('front', {'glasses': 'sunglasses'}),
  ('mouth', {'beard': 'stubble'}),
  ('mouth', {'beard': 'moustache'}),
  ('chin', {'beard': 'goatee'}),
  ('front', {'beard': 'beard'}),
  ('front', {'beard': 'long beard'}),
  ('front', {'horns': True}),
  ('front', {'headphones': True}),
  ('side', {'pointed_ears': True}),
  ('front', {'red_nose': True}),
  ('eyes', {'eye_color': 'blue'}),
  ('front', {'shirt_color': 'red'}),
)


@pytest.mark.parametrize('view, words', SEEN, ids=str)
def test_a_word_is_seen(view, words):
  share = photos.changed(photos.picture(view), photos.picture(view, **words))
  assert share.mean() > 0.004, words


def test_sunglasses_hide_the_eyes():
  eyes = [
    photos.picture('eyes', glasses='sunglasses', eye_color=color)
    for color in ('blue', 'brown')
  ]
  assert not photos.changed(*eyes).any()


def test_colours_of_what_is_absent_change_nothing():
  plain = photos.picture('front', hair_style='bald')
  for words in (
    {'hat_color': 'green'},
    {'headphone_color': 'green'},
  ):
    other = photos.picture('front', hair_style='bald', **words)
    np.testing.assert_array_equal(plain, other)


@pytest.mark.parametrize('expression', people_attributes.EXPRESSIONS[1:])
def test_an_expression_moves_the_face_and_nothing_else(expression):
  plain = photos.person(3, hair_style='bald', hat='crown')
  moved = photos.person(
    3, hair_style='bald', hat='crown', expression=expression
  )
  a, b = plain.film.mesh, moved.film.mesh
  assert a.vertices.shape == b.vertices.shape
  shift = np.linalg.norm(a.vertices - b.vertices, axis=1)
  face = (a.vertices[:, 2] > 0.1) & (a.vertices[:, 1] < 0.5)
  assert shift[face].max() > 0.03
  # The crown of the head, the nape and the chest stay where they are.
  still = (a.vertices[:, 2] < -0.2) | (a.vertices[:, 1] < -1.0)
  assert shift[still].max() < 0.01


def test_each_expression_moves_its_part():
  def point(at, expression):
    shape = people_shape.make(
      people_attributes.Attributes(expression=expression),
      np.random.default_rng(0),
    )
    return shape.vertices[people_shape.landmark(at)]

  corner, lid, brow = (0.24, 6.65, 1.44), (0.31, 7.33, 1.40), (0.12, 7.5, 1.5)
  lip, cheek = (0.0, 6.56, 1.57), (0.45, 6.75, 1.25)

  def moved(at, expression):
    return point(at, expression) - point(at, 'neutral')

  assert moved(corner, 'happy')[1] > 0.03
  assert moved(corner, 'sad')[1] < -0.02
  assert moved(brow, 'sad')[1] > 0.02
  assert moved(brow, 'angry')[1] < -0.02
  assert moved(brow, 'surprised')[1] > 0.03
  assert moved(lip, 'surprised')[1] < -0.04
  assert moved(lip, 'open mouth')[1] < -0.08
  assert moved(lid, 'closed eyes')[1] < -0.03
  assert moved(cheek, 'puffed cheeks')[2] > 0.02
  assert moved(corner, 'pucker')[0] < -0.02
  # One eye, and the mouth's corner on its side.
  left, right = moved(lid, 'wink'), moved((-0.31, 7.33, 1.40), 'wink')
  assert left[1] < -0.03 and abs(right[1]) < 0.02
  assert moved(corner, 'wink')[1] > 0.03


def test_every_expression_has_a_recipe():
  assert set(expressions.RECIPES) == set(people_attributes.EXPRESSIONS)


@pytest.mark.parametrize(
  'words',
  [
    {'hat': 'hat'},
    {'glasses': 'glasses'},
    {'beard': 'beard'},
    {'horns': True},
    {'skin': 'blue'},
    {'hair_style': 'afro'},
    {'expression': 'happy'},
  ],
  ids=str,
)
def test_siblings_share_a_body(words):
  plain, other = photos.person(8), photos.person(8, **words)
  if 'expression' not in words:
    skins = [
      b.film.mesh.vertices[
        b.film.mesh.triangles[b.film.mesh.materials == pieces.SKIN]
      ]
      for b in (plain, other)
    ]
    np.testing.assert_array_equal(*skins)
  np.testing.assert_array_equal(plain.iris, other.iris)
  np.testing.assert_array_equal(
    plain.lights.directions, other.lights.directions
  )
  np.testing.assert_array_equal(plain.skin.shirt, other.skin.shirt)
  if 'skin' not in words:
    np.testing.assert_array_equal(plain.skin.tone, other.skin.tone)


@pytest.mark.parametrize('hat', palettes.HATS[1:-1])
@pytest.mark.parametrize('style', ['short', 'long', 'curly', 'afro'])
def test_no_hair_grows_through_a_hat(hat, style):
  # From above, nothing but the hat is seen where the head is.
  hairy = photos.person(9, hat=hat, hair_style=style)
  mesh = hairy.film.mesh
  ticks = np.linspace(-0.1, 0.1, 40)
  directions = np.stack(np.meshgrid(ticks, [-1.0], ticks), -1).reshape(-1, 3)
  triangle, _, _ = hairy.film.scene.intersect(
    np.array([0, 3.4, -0.05]), directions
  )
  assert (triangle >= 0).all()
  assert not (mesh.materials[triangle] == pieces.HAIR).any()


def test_lips_are_redder_than_the_skin():
  for skin in palettes.SKINS:
    painted = _skin(skin=skin)
    share = painted.lips[0] / painted.lips.sum()
    if skin == 'red':  # Nothing is redder; they are darker.
      assert painted.lips.sum() < 0.8 * painted.tone.sum()
    else:
      assert share > painted.tone[0] / painted.tone.sum() + 0.01, skin


def test_brows_are_darker_than_the_skin():
  for skin in palettes.SKINS:
    for color in palettes.HAIR_COLORS:
      painted = _skin(skin=skin, hair_color=color)
      assert painted.brows.mean() < 0.5 * painted.tone.mean(), (skin, color)


def _skin(**words):
  attributes = people_attributes.Attributes(**words)
  return people_skin.make(attributes, np.random.default_rng(2))
