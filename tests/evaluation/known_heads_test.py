import dataclasses

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.core import asset_paths
from mmdist.evaluation import agreement
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import known_heads
from mmdist.evaluation import run_evaluation
from mmdist.heads import head_records
from mmdist.heads import subjects
from mmdist.heads import worlds

PEOPLE = worlds.get('people')

SUBJECT = '5:0'
EDIT = 'a portrait of a man with a red hat'
ASKED = {'kind': 'man', 'hat': 'hat', 'hat_color': 'red'}


@pytest.mark.parametrize('text', ['5', '5:', 'a:b', '5:2:smiling', '-1:2'])
def test_what_names_no_head_is_refused(text):
  with pytest.raises(ValueError, match=f"--x is '{text}'; expected FAMILY:IND"):
    known_heads.read_head(PEOPLE, text, 'x')
  assert not known_heads.is_named(text)


def test_a_head_is_the_one_that_other_commands_know_by_the_name():
  for text, neutral in (('5:2', False), ('5:2:neutral', True)):
    assert known_heads.is_named(text)
    head = known_heads.read_head(PEOPLE, text, 'subject')
    assert (
      head.attributes == subjects.sample_head(PEOPLE, 5, 2, neutral).attributes
    )


def test_a_view_is_no_attribute():
  asked = known_heads.asked_attributes(PEOPLE, 'a happy man, mouth view')
  assert asked == {'kind': 'man', 'expression': 'happy'}


@pytest.fixture(autouse=True)
def _few(monkeypatch):
  monkeypatch.setattr(known_heads, 'NUM_TRUE_HEADS', 2)


@pytest.fixture(autouse=True, scope='module')
def _render_once():
  """Who is looked at by several tests is rendered for the first."""
  render, rendered = known_heads.render, {}

  def render_once(world, head, views, resolution):
    key = repr((head, views, resolution))
    if key not in rendered:
      rendered[key] = render(world, head, views, resolution)
    return dict(rendered[key])

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(known_heads, 'render', render_once)
    yield


@pytest.fixture(scope='module')
def judge():
  return judge_lib.load(asset_paths.resolve('judge'))


@pytest.fixture(scope='module')
def subject(judge):
  return known_heads.read_head(judge.world, SUBJECT, 'subject')


def identity(judge, subject, shown):
  views = agreement.judging_views()
  pictures = known_heads.render(judge.world, shown, views, 64)['rgb']
  asked = known_heads.asked_attributes(judge.world, EDIT)
  return known_heads.identity(judge, views, pictures, subject, asked)


def test_a_subject_with_a_hat_is_still_the_subject(judge, subject):
  attributes = dataclasses.replace(subject.attributes, **ASKED)
  body = np.random.default_rng(0)
  shown = subjects.make_head(judge.world, attributes, body)
  row = identity(judge, subject, shown)
  assert row['identity_agreement'] > 0.9
  assert row['true_identity_agreement'] > 0.85
  assert row['identity_chance'] < 0.8
  assert row['identity_rank'] <= 3


def test_somebody_else_with_the_hat_is_not(judge, subject):
  fixed = {**ASKED, 'skin': 'blue'}
  other = subjects.sample_head(judge.world, 78, 0, fixed=fixed)
  row = identity(judge, subject, other)
  assert row['identity_agreement'] < row['true_identity_agreement'] - 0.15
  assert row['identity_rank'] > 10


def test_what_the_sentence_changes_does_not_count(judge, subject):
  # Nothing of the subject is left but what the edit asks for.
  views = agreement.judging_views()
  pictures = known_heads.render(judge.world, subject, views, 64)['rgb']
  asked = [
    known_heads.asked_attributes(judge.world, text)
    for text in (EDIT, 'a portrait of a man')
  ]
  kept, whole = (
    known_heads.identity(judge, views, pictures, subject, one) for one in asked
  )
  # Without the hat, the edit has failed; the subject is there nevertheless.
  assert kept['identity_agreement'] == pytest.approx(
    whole['identity_agreement'], abs=0.1
  )


def test_a_head_with_a_crown_is_less_smooth_than_a_bald_one():
  views = orbits.turntable(4)
  bald, crowned = (
    known_heads.true_normal_noise_deg(PEOPLE, views, shown, 64)
    for shown in ({'hair_style': 'bald', 'hat': ''}, {'hat': 'crown'})
  )
  assert 2 < bald < crowned - 2


def test_clay_shows_a_hat_and_asks_of_nothing_else(judge):
  views = agreement.judging_views()
  asked = {'skin': 'green', 'hat': 'hat'}
  scores = {}
  for hat in ('hat', ''):
    head = subjects.sample_head(
      judge.world, 78, 3, fixed={'hat': hat, 'hair_style': 'short'}
    )
    normals = known_heads.render(judge.world, head, views, 64)['normals']
    row = run_evaluation.clay_agreement(judge, views, normals, asked)
    scores[hat] = row['clay_agreement']
  assert scores['hat'] > 0.7 and scores[''] < 0.3
  assert row['true_clay_agreement'] > 0.7
  nothing = run_evaluation.clay_agreement(
    judge, views, normals, {'skin': 'green'}
  )
  assert set(nothing.values()) == {None}


def test_a_name_means_the_head_of_its_world():
  def make_head(attributes, rng):
    del rng
    return head_records.Head(attributes, {'antennae': np.ones(2)})

  other = dataclasses.replace(PEOPLE, make_head=make_head)
  here, there = (
    known_heads.read_head(world, '5:2', 'subject') for world in (PEOPLE, other)
  )
  assert here.attributes == subjects.sample_head(PEOPLE, 5, 2).attributes
  assert set(there.parameters) == {'antennae'} != set(here.parameters)


def test_true_people_have_what_is_asked_or_cannot_be():
  seen = []

  def render(world, head, views, resolution):
    seen.append((world, head.attributes))
    return {}

  shown = {'age': 'old', 'expression': 'wink', 'view': 'front'}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(known_heads, 'render', render)
    list(known_heads.true_pictures(PEOPLE, None, shown, 16))
    with pytest.raises(ValueError, match="kind='boy' and age='old' cannot be"):
      list(known_heads.true_pictures(PEOPLE, None, shown | {'kind': 'boy'}, 16))
  assert len(seen) == known_heads.NUM_TRUE_HEADS
  for world, a in seen:
    assert world is PEOPLE
    assert (a.age, a.expression) == ('old', 'wink') and a.kind != 'boy'
