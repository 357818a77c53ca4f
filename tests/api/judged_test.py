"""The judge's verdict in a report, where there can be one."""

import pytest

from mmdist.api import judged
from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.objectives import concept as concept_lib
from tests.results import sphere_field


def judge(*concepts, prompt=''):
  run = schema.RunConfig(
    prompt=prompt, concepts=[schema.ConceptConfig(*one) for one in concepts]
  )
  field, params = sphere_field.representation(), sphere_field.params_of()
  return judged.judge(run, field, params)


def test_a_sentence_of_the_judges_world_is_judged():
  verdict = judge(('a happy man', 1.0), ('a man with a red hat', -0.5))
  assert 0 <= verdict.overall <= 1 and 0 < verdict.chance < 1
  assert set(verdict.per_concept) == {
    concept_lib.Concept('a happy man').key,
    concept_lib.Concept('a man with a red hat').key,
  }


def test_concepts_of_one_text_each_have_a_verdict():
  verdict = judge(
    ('a happy man', 1.0),
    ('a happy man', -0.5, ('generic',)),
    ('a happy man', 1.0, (), '', 'linear(1, 0)'),
  )
  wanted = verdict.per_concept[concept_lib.Concept('a happy man').key]
  asked = concept_lib.Concept('a happy man', priors=('generic',))
  unwanted = verdict.per_concept[asked.key]
  assert len(verdict.per_concept) == 2  # One has faded.
  assert wanted is None  # What is to be absent is not asked for.
  assert 0 <= unwanted <= 1


@pytest.mark.parametrize('prompt', ['a red ball', 'a portrait of my dog'])
def test_other_sentences_have_no_verdict(prompt):
  assert judge(prompt=prompt) is None


def test_without_a_judge_there_is_no_verdict(monkeypatch):
  def gone(name):
    raise FileNotFoundError(name)

  monkeypatch.setattr(asset_paths, 'resolve', gone)
  assert judge(prompt='a happy man') is None


def test_where_nobody_is_asked_nobody_judges(monkeypatch):
  run = schema.RunConfig(prompt='a happy man')
  run.results.judge = ''
  monkeypatch.setattr(asset_paths, 'resolve', lambda name: 1 / 0)
  field, params = sphere_field.representation(), sphere_field.params_of()
  assert judged.judge(run, field, params) is None
