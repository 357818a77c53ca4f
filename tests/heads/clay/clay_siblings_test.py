"""Families: one body, one difference, nothing held out."""

import dataclasses

import pytest

from mmdist.core import seeds
from mmdist.heads import kinship
from mmdist.heads import worlds

CLAY = worlds.get('clay')


def families(count, kinds=()):
  return [
    CLAY.siblings.sample(seeds.generator(3, i, 'siblings'), kinds)
    for i in range(count)
  ]


def test_an_unknown_kind_of_family_names_the_nearest():
  with pytest.raises(ValueError, match="is 'hats'; did you mean 'hat'"):
    families(1, kinds=('wear', 'hats'))


def differences(family):
  """Returns the fields in which siblings differ."""
  rows = [dataclasses.asdict(a) for a in family.attributes]
  return {key for key in rows[0] if len({row[key] for row in rows}) > 1}


# Fields that differ, by what a family is about.
FIELDS = {name: {name} for name in CLAY.siblings.variations} | {
  'wear': {'horns', 'headphones', 'glasses'},
  'beard': {'beard', 'red_nose'},
}


@pytest.mark.parametrize('name', CLAY.siblings.variations)
def test_siblings_differ_in_one_thing(name):
  for family in families(5, kinds=(name,)):
    assert len(set(family.attributes)) == kinship.FAMILY_SIZE
    assert differences(family) == FIELDS[name]


def test_families_are_of_every_kind_and_half_of_expressions():
  kinds = [frozenset(differences(family)) for family in families(400)]
  assert set(kinds) == {frozenset(fields) for fields in FIELDS.values()}
  # 0.5 + 0.5 / 9, give or take three standard errors.
  share = kinds.count(frozenset({'expression'})) / len(kinds)
  assert share == pytest.approx(0.556, abs=0.075)


def test_families_show_nothing_held_out_and_nobody_by_name():
  for family in families(300):
    assert not any(map(CLAY.attributes.is_held_out, family.attributes))
    assert not any(a.name for a in family.attributes)
    for attributes in family.attributes:
      CLAY.attributes.check(attributes)


def test_full_captions_tell_siblings_apart():
  for family in families(50):
    texts = {CLAY.captions.describe(a, 'front') for a in family.attributes}
    assert len(texts) == kinship.FAMILY_SIZE
