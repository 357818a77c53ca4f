import collections
import dataclasses
import itertools

import numpy as np
import pytest

from mmdist.heads import palettes
from mmdist.heads import worlds
from mmdist.heads.people import attributes as people_attributes

PEOPLE = worlds.get('people').attributes
Attributes = people_attributes.Attributes
WHO = list(itertools.product(people_attributes.KINDS, people_attributes.AGES))


def fits(kind: str, age: str) -> bool:
  return age == '' or kind in people_attributes.ADULTS


@pytest.fixture(scope='module')
def sampled():
  """Three thousand people as priors are trained on."""
  rng = np.random.default_rng(0)
  return [PEOPLE.sample_training(rng) for _ in range(3000)]


def test_every_value_of_every_attribute_is_drawn(sampled):
  for field, choices in PEOPLE.choices.items():
    drawn = {getattr(attributes, field) for attributes in sampled}
    assert drawn == set(choices), field


def test_every_field_has_choices_and_its_default_is_one():
  fields = {field.name for field in dataclasses.fields(Attributes)}
  assert fields == set(PEOPLE.choices)
  PEOPLE.check(Attributes())


def test_held_out_combinations_are_drawn_but_never_trained_on(sampled):
  assert not any(map(PEOPLE.is_held_out, sampled))
  rng = np.random.default_rng(1)
  seen = collections.Counter()
  for _ in range(4000):
    shown = PEOPLE.visible(PEOPLE.sample(rng))
    for i, combination in enumerate(PEOPLE.held_out):
      seen[i] += combination.items() <= shown.items()
  assert all(seen[i] for i in range(len(PEOPLE.held_out))), seen


def test_who_a_head_is_fits_its_age(sampled):
  assert all(fits(a.kind, a.age) for a in sampled)
  assert {(a.kind, a.age) for a in sampled} == {w for w in WHO if fits(*w)}


@pytest.mark.parametrize('kind, age', [w for w in WHO if fits(*w)])
def test_who_is_fixed_stays(kind, age):
  for seed in range(20):
    rng = np.random.default_rng(seed)
    a = PEOPLE.sample(rng, fixed={'kind': kind, 'age': age})
    assert (a.kind, a.age) == (kind, age)


@pytest.mark.parametrize('kind, age', [w for w in WHO if not fits(*w)])
def test_an_old_boy_cannot_be(kind, age):
  words = f"kind='{kind}' and age='{age}' cannot be; .* man, woman"
  with pytest.raises(ValueError, match=words) as error:
    PEOPLE.sample(np.random.default_rng(0), fixed={'kind': kind, 'age': age})
  assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match=words):
    PEOPLE.check(Attributes(kind=kind, age=age))


@pytest.mark.parametrize(
  'fixed',
  [{'age': age} for age in people_attributes.AGES]
  + [{'kind': kind} for kind in people_attributes.KINDS]
  + [{'name': name} for name in palettes.NAMES[1:]]
  + [{'name': 'wizard', 'kind': 'boy'}, {'name': 'wizard', 'age': 'young'}]
  + [{'name': 'joker', 'age': 'old'}, {'beard': 'goatee', 'age': 'young'}],
)
def test_whatever_is_fixed_the_rest_fits(fixed):
  for seed in range(40):
    a = PEOPLE.sample(np.random.default_rng(seed), fixed=fixed)
    assert fits(a.kind, a.age)
    assert {key: getattr(a, key) for key in fixed} == fixed


def test_a_beard_that_is_fixed_is_a_mans_unless_somebody_is_fixed_too():
  for seed in range(30):
    rng = np.random.default_rng(seed)
    assert PEOPLE.sample(rng, fixed={'beard': 'stubble'}).kind == 'man'
    fixed = {'beard': 'beard', 'kind': 'woman'}
    assert PEOPLE.sample(rng, fixed=fixed).kind == 'woman'


def test_beards_are_mens_and_grey_hair_is_of_the_old(sampled):
  for a in sampled:
    if a.name:
      continue
    assert not a.beard or a.kind == 'man'
    assert (a.hair_color in palettes.OLD_HAIR) == (a.age == 'old')


def test_freckles_are_on_fair_skins_unless_they_are_fixed(sampled):
  assert any(a.freckles for a in sampled)
  for a in sampled:
    assert not a.freckles or a.skin in people_attributes.FRECKLED_SKINS
  fixed = {'freckles': True, 'skin': 'dark'}
  assert PEOPLE.sample(np.random.default_rng(0), fixed=fixed).freckles


def test_tall_hair_is_under_no_hat(sampled):
  for a in sampled:
    if a.hat not in ('', 'crown') and not a.name:
      assert a.hair_style not in PEOPLE.tall_styles


def test_neutral_people_are_plain():
  rng = np.random.default_rng(2)
  for _ in range(300):
    a = PEOPLE.sample(rng, neutral=True)
    assert (a.expression, a.name, a.hat, a.glasses) == ('neutral', '', '', '')
    assert not (a.horns or a.headphones or a.pointed_ears or a.red_nose)
    assert a.skin in palettes.NATURAL_SKINS
    assert a.hair_color not in palettes.FANTASY_HAIR


@pytest.mark.parametrize(
  'asked, gone',
  [
    ({'kind': 'boy'}, 'age'),
    ({'kind': 'boy', 'age': ''}, ''),
    ({'kind': 'woman'}, ''),
    ({'skin': 'green'}, ''),
  ],
)
def test_what_is_kept_can_be_together_with_what_is_asked(asked, gone):
  old = Attributes(kind='man', age='old', hat='hat')
  kept = PEOPLE.kept(old, asked)
  PEOPLE.sample(np.random.default_rng(0), fixed=kept | asked)  # It can be.
  assert not set(kept) & set(asked)
  assert set(PEOPLE.visible(old)) - set(kept) - set(asked) == {gone} - {''}


def test_a_boy_who_is_asked_to_be_old_is_no_boy_any_more():
  kept = PEOPLE.kept(Attributes(kind='boy'), {'age': 'old'})
  assert 'kind' not in kept and kept['skin'] == 'pale'
