import dataclasses

import pytest

from mmdist.config import changes
from mmdist.config import deciding
from mmdist.config import schema
from mmdist.config import serialization


@pytest.fixture
def mixed():
  run = schema.RunConfig()
  run.concepts = [
    schema.ConceptConfig('a happy man', 0.6, name='happy'),
    schema.ConceptConfig('a sad man', 0.4),
  ]
  return run


@pytest.mark.parametrize(
  'path',
  [
    'prompt',
    'concepts[0].name',
    'results.resolution',
    'checkpoints.every',
    'faults.deadline_s',
    'priors.normal.num_gpus',
  ],
)
def test_what_nobody_reads_decides_nothing(path, mixed):
  assert deciding.why_idle(mixed, path)
  assert path not in deciding.deciding_fields(mixed)


@pytest.mark.parametrize(
  'path',
  [
    'concepts[0].text',
    'concepts[1].weight',
    'seed',
    'mode',
    'faults.on_nonfinite',
    'priors.normal.num_cpus',
    'learner.chunk_size',
  ],
)
def test_what_is_asked_and_how_decides(path, mixed):
  assert not deciding.why_idle(mixed, path)
  assert path in deciding.deciding_fields(mixed)


def test_the_prompt_decides_where_there_are_no_concepts():
  assert not deciding.why_idle(schema.RunConfig(), 'prompt')


def test_a_field_that_may_change_freely_decides_nothing(mixed):
  for path in serialization.flatten(mixed):
    if changes.is_free(path):
      assert deciding.why_idle(mixed, path)


def test_runs_of_other_names_and_results_are_the_same_run(mixed):
  other = dataclasses.replace(mixed, prompt='a king')
  other.concepts = [dataclasses.replace(c, name='') for c in mixed.concepts]
  other.results = schema.ResultsConfig(resolution=8, judge='')
  assert deciding.deciding_fields(other) == deciding.deciding_fields(mixed)
  other.concepts[0].weight = 0.7
  assert deciding.deciding_fields(other) != deciding.deciding_fields(mixed)
