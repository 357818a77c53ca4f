import collections
import dataclasses

import numpy as np
import pytest

from mmdist.data import head_attributes
from mmdist.data import head_shapes

Attributes = head_attributes.Attributes


@pytest.fixture(scope='module')
def sampled():
  """Two thousand heads as priors are trained on."""
  rng = np.random.default_rng(0)
  return [head_attributes.sample_training_attributes(rng) for _ in range(2000)]


def test_every_value_of_every_attribute_is_drawn(sampled):
  for field, choices in head_attributes.CHOICES.items():
    drawn = {getattr(attributes, field) for attributes in sampled}
    assert drawn == set(choices), field


def test_every_field_has_choices_and_its_default_is_one():
  fields = {field.name for field in dataclasses.fields(Attributes)}
  assert fields == set(head_attributes.CHOICES)
  head_attributes.check(Attributes())


def test_the_seed_decides_the_attributes(sampled):
  rng = np.random.default_rng(0)
  again = [head_attributes.sample_training_attributes(rng) for _ in range(20)]
  assert again == sampled[:20]


def test_held_out_combinations_are_never_trained_on(sampled):
  assert not any(map(head_attributes.is_held_out, sampled))


def test_every_held_out_combination_is_drawn_otherwise():
  rng = np.random.default_rng(1)
  seen = collections.Counter()
  for _ in range(2500):
    shown = head_attributes.visible(head_attributes.sample_attributes(rng))
    for i, combination in enumerate(head_attributes.HELD_OUT):
      seen[i] += combination.items() <= shown.items()
  # 'pink' with glasses is the rarest, about one in 130.
  assert all(seen[i] for i in range(len(head_attributes.HELD_OUT))), seen


def test_each_half_of_a_held_out_combination_is_trained_on(sampled):
  for combination in head_attributes.HELD_OUT:
    for field, value in combination.items():
      assert any(getattr(a, field) == value for a in sampled), (field, value)


@pytest.mark.parametrize(
  'attributes, held_out',
  [
    (Attributes(skin='green', hat='hat', hat_color='red'), True),
    (Attributes(skin='green', hat='', hat_color='red'), False),
    (Attributes(skin='green', hat='hat', hat_color='blue'), False),
    (Attributes(skin='purple', horns=True), True),
    (Attributes(hair_style='mohawk', hair_color='blue'), True),
  ],
)
def test_only_what_can_be_seen_is_held_out(attributes, held_out):
  assert head_attributes.is_held_out(attributes) == held_out


def test_colours_of_absent_things_are_not_visible():
  shown = head_attributes.visible(Attributes(hair_style='bald'))
  assert not {'hat_color', 'hair_color', 'headphone_color'} & set(shown)
  everything = Attributes(hat='hat', headphones=True)
  assert head_attributes.visible(everything) == dataclasses.asdict(everything)


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('skin', 'gren', "skin='gren' .*; did you mean 'green'?"),
    ('hat', 'wizzard hat', "did you mean 'wizard hat'?"),
    ('kind', '12345', 'Known: .*old woman'),
    ('horns', 'yes', 'Known: False, True'),
  ],
)
def test_an_unknown_value_is_answered_in_a_line(field, value, words):
  with pytest.raises(ValueError, match=words) as error:
    head_attributes.check(dataclasses.replace(Attributes(), **{field: value}))
  assert '\n' not in str(error.value)


def test_neutral_subjects_are_plain_people():
  rng = np.random.default_rng(2)
  for _ in range(300):
    a = head_attributes.sample_attributes(rng, neutral=True)
    assert (a.expression, a.name, a.hat, a.glasses) == ('neutral', '', '', '')
    assert not (a.horns or a.headphones or a.pointed_ears or a.red_nose)
    assert a.skin in head_attributes.NATURAL_SKINS
    assert a.hair_color not in head_attributes.FANTASY_HAIR
    head_attributes.check(a)


def test_kinds_follow_their_rules(sampled):
  for a in sampled:
    if a.name:
      continue
    if 'woman' in a.kind or a.kind == 'child':
      assert a.beard == ''
    if 'old' in a.kind:
      assert a.hair_color in head_attributes.OLD_HAIR


def test_accessories_do_not_collide(sampled):
  for a in sampled:
    if a.hat not in ('', 'crown'):
      assert not a.horns and not a.headphones
      if not a.name:
        assert a.hair_style not in ('mohawk', 'bun', 'afro')
    if a.hat == 'crown':
      assert not a.headphones


def test_what_is_fixed_stays_even_if_it_is_implausible():
  fixed = {
    'kind': 'child',
    'name': 'devil',
    'skin': 'blue',
    'hat': 'top hat',
    'horns': True,
    'headphones': True,
    'hair_style': 'afro',
    'beard': 'long beard',
  }
  for seed in range(20):
    rng = np.random.default_rng(seed)
    a = head_attributes.sample_attributes(rng, fixed=fixed)
    assert {key: getattr(a, key) for key in fixed} == fixed


def test_a_crown_gives_way_to_headphones_that_were_asked_for():
  rng = np.random.default_rng(0)
  a = head_attributes.sample_attributes(
    rng, fixed={'hat': 'crown', 'headphones': True}
  )
  assert a.headphones


@pytest.mark.parametrize('name', head_attributes.NAMES[1:])
def test_named_characters_look_like_themselves(name):
  signs = head_attributes.character(name, np.random.default_rng(0))
  signs.pop('hat_color', None)  # Either of two.
  for seed in range(10):
    rng = np.random.default_rng(seed)
    a = head_attributes.sample_attributes(rng, fixed={'name': name})
    assert signs.items() <= dataclasses.asdict(a).items()


def test_an_unknown_value_that_was_fixed_is_refused():
  with pytest.raises(ValueError, match='hat_color'):
    head_attributes.sample_attributes(
      np.random.default_rng(0), fixed={'hat_color': 'mauve'}
    )


def test_all_heads_have_the_same_finite_float32_parameters(sampled):
  rng = np.random.default_rng(3)
  expected = None
  for a in sampled[:300]:
    p = head_attributes.shape_parameters(a, rng)
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
    p = head_attributes.shape_parameters(a, rng)
    assert head_shapes.HATS[int(p['hat'])] == a.hat
    assert head_shapes.HAIR_STYLES[int(p['hair_style'])] == a.hair_style
    assert head_attributes.BEARDS[int(p['beard'])] == a.beard
    assert head_attributes.GLASSES[int(p['glasses'])] == a.glasses
    assert (bool(p['horns']), bool(p['headphones'])) == (a.horns, a.headphones)
    skin = head_attributes.SKINS[a.skin]
    # Five sigmas of the jitter: 0.022 each and 0.022 in common.
    np.testing.assert_allclose(p['color_skin'], skin, atol=0.16)


def test_expressions_differ_more_than_people_do():
  rng = np.random.default_rng(5)

  def moves(expression):
    attributes = Attributes(expression=expression)
    drawn = [
      head_attributes.shape_parameters(attributes, rng) for _ in range(20)
    ]
    names = ('mouth_curve', 'mouth_open', 'mouth_width', 'brow_tilt')
    return np.array([[p[name] for name in names] for p in drawn])

  groups = {e: moves(e) for e in head_attributes.EXPRESSIONS}
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
      head_attributes.shape_parameters(attributes, rng)[name] for _ in range(60)
    ]
    return np.mean(drawn)

  assert mean('child', 'eye_size') > 1.1 * mean('man', 'eye_size')
  assert mean('old man', 'nose') > 1.1 * mean('man', 'nose')
  assert mean('woman', 'neck') < 0.9 * mean('man', 'neck')


def test_aliens_and_jokers_and_devils_have_features_of_their_own():
  def draw(name, field):
    rng = np.random.default_rng(7)
    return head_attributes.shape_parameters(Attributes(name=name), rng)[field]

  assert draw('alien', 'eye_size') > 1.3
  assert draw('joker', 'color_lip')[0] > 2 * draw('joker', 'color_lip')[1]
  assert draw('devil', 'color_horns').sum() < draw('', 'color_horns').sum()
