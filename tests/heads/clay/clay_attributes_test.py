import collections
import dataclasses

import numpy as np
import pytest

from mmdist.heads import characters
from mmdist.heads import palettes
from mmdist.heads import worlds
from mmdist.heads.clay import clay_attributes

CLAY = worlds.get('clay')


Attributes = clay_attributes.Attributes


@pytest.fixture(scope='module')
def sampled():
  """Two thousand heads as priors are trained on."""
  rng = np.random.default_rng(0)
  return [CLAY.attributes.sample_training(rng) for _ in range(2000)]


def test_every_value_of_every_attribute_is_drawn(sampled):
  for field, choices in CLAY.attributes.choices.items():
    drawn = {getattr(attributes, field) for attributes in sampled}
    assert drawn == set(choices), field


def test_every_field_has_choices_and_its_default_is_one():
  fields = {field.name for field in dataclasses.fields(Attributes)}
  assert fields == set(CLAY.attributes.choices)
  CLAY.attributes.check(Attributes())


def test_the_seed_decides_the_attributes(sampled):
  rng = np.random.default_rng(0)
  again = [CLAY.attributes.sample_training(rng) for _ in range(20)]
  assert again == sampled[:20]


def test_held_out_combinations_are_never_trained_on(sampled):
  assert not any(map(CLAY.attributes.is_held_out, sampled))


def test_every_held_out_combination_is_drawn_otherwise():
  rng = np.random.default_rng(1)
  seen = collections.Counter()
  for _ in range(2500):
    shown = CLAY.attributes.visible(CLAY.attributes.sample(rng))
    for i, combination in enumerate(CLAY.attributes.held_out):
      seen[i] += combination.items() <= shown.items()
  # 'pink' with glasses is the rarest, about one in 130.
  assert all(seen[i] for i in range(len(CLAY.attributes.held_out))), seen


def test_each_half_of_a_held_out_combination_is_trained_on(sampled):
  for combination in CLAY.attributes.held_out:
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
  assert CLAY.attributes.is_held_out(attributes) == held_out


def test_colours_of_absent_things_are_not_visible():
  shown = CLAY.attributes.visible(Attributes(hair_style='bald'))
  assert not {'hat_color', 'hair_color', 'headphone_color'} & set(shown)
  everything = Attributes(hat='hat', headphones=True)
  assert CLAY.attributes.visible(everything) == dataclasses.asdict(everything)


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
    CLAY.attributes.check(dataclasses.replace(Attributes(), **{field: value}))
  assert '\n' not in str(error.value)


def test_neutral_subjects_are_plain_people():
  rng = np.random.default_rng(2)
  for _ in range(300):
    a = CLAY.attributes.sample(rng, neutral=True)
    assert (a.expression, a.name, a.hat, a.glasses) == ('neutral', '', '', '')
    assert not (a.horns or a.headphones or a.pointed_ears or a.red_nose)
    assert a.skin in palettes.NATURAL_SKINS
    assert a.hair_color not in palettes.FANTASY_HAIR
    CLAY.attributes.check(a)


def test_kinds_follow_their_rules(sampled):
  for a in sampled:
    if a.name:
      continue
    if 'woman' in a.kind or a.kind == 'child':
      assert a.beard == ''
    if 'old' in a.kind:
      assert a.hair_color in palettes.OLD_HAIR


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
    a = CLAY.attributes.sample(rng, fixed=fixed)
    assert {key: getattr(a, key) for key in fixed} == fixed


@pytest.mark.parametrize('hat', ['top hat', 'crown'])
def test_what_is_drawn_gives_way_to_what_was_asked_for(hat):
  rng = np.random.default_rng(8)
  for _ in range(60):
    a = CLAY.attributes.sample(rng, fixed={'hat': hat})
    assert a.hat == hat and not a.headphones


def test_a_crown_gives_way_to_headphones_that_were_asked_for():
  rng = np.random.default_rng(0)
  a = CLAY.attributes.sample(rng, fixed={'hat': 'crown', 'headphones': True})
  assert a.headphones


@pytest.mark.parametrize('name', palettes.NAMES[1:])
def test_named_characters_look_like_themselves(name):
  signs = characters.signs(
    name, np.random.default_rng(0), CLAY.attributes.old_man
  )
  signs.pop('hat_color', None)  # Either of two.
  for seed in range(10):
    rng = np.random.default_rng(seed)
    a = CLAY.attributes.sample(rng, fixed={'name': name})
    assert signs.items() <= dataclasses.asdict(a).items()


def test_an_unknown_value_that_was_fixed_is_refused():
  with pytest.raises(ValueError, match='hat_color'):
    CLAY.attributes.sample(
      np.random.default_rng(0), fixed={'hat_color': 'mauve'}
    )
