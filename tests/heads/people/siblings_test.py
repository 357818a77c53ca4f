"""Families of people: one difference, nothing held out, nobody impossible."""

import dataclasses

import pytest

from mmdist.core import seeds
from mmdist.heads import kinship
from mmdist.heads import worlds

PEOPLE = worlds.get('people')


def families(count, kinds=()):
  return [
    PEOPLE.siblings.sample(seeds.generator(3, i, 'siblings'), kinds)
    for i in range(count)
  ]


def differences(family):
  """Returns the fields in which siblings differ."""
  rows = [dataclasses.asdict(a) for a in family.attributes]
  return {key for key in rows[0] if len({row[key] for row in rows}) > 1}


# Fields that differ, by what a family is about.
FIELDS = {name: {name} for name in PEOPLE.siblings.variations} | {
  'wear': {'horns', 'headphones', 'glasses'},
  'freckles': {'freckles', 'skin', 'red_nose'},
  'age': {'age', 'kind'},
  'kind': {'age', 'kind'},
}


@pytest.mark.parametrize('name', PEOPLE.siblings.variations)
def test_siblings_differ_in_one_thing(name):
  for family in families(8, kinds=(name,)):
    assert len(set(family.attributes)) == kinship.FAMILY_SIZE
    assert differences(family) == FIELDS[name]


def test_half_of_the_families_differ_in_expression():
  kinds = [differences(family) for family in families(400)]
  # 0.5 + 0.5 / 11, give or take three standard errors.
  share = kinds.count({'expression'}) / len(kinds)
  assert share == pytest.approx(0.545, abs=0.075)
  for fields in FIELDS.values():
    assert fields in kinds


def test_families_show_nothing_held_out_and_nobody_impossible():
  for family in families(300):
    assert not any(map(PEOPLE.attributes.is_held_out, family.attributes))
    assert not any(a.name for a in family.attributes)
    for attributes in family.attributes:
      PEOPLE.attributes.check(attributes)


def test_full_captions_tell_siblings_apart():
  for family in families(100):
    texts = {PEOPLE.captions.describe(a, 'front') for a in family.attributes}
    assert len(texts) == kinship.FAMILY_SIZE


def test_eyes_are_looked_at_where_lids_tell_siblings_apart():
  for family in families(5, kinds=('expression',)):
    assert family.emphasis['eyes'] > 1 and family.emphasis['back'] == 0
