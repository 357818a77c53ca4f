import dataclasses

import pytest

from mmdist.config import schema
from mmdist.core import messages
from mmdist.run import resuming
from mmdist.run import workdir as workdir_lib
from tests.priors import tiny

RUN = schema.RunConfig(num_steps=100)


@pytest.fixture(name='workdir')
def fixture_workdir(tmp_path):
  workdir = workdir_lib.claim(tmp_path / 'run', RUN)
  (workdir / 'checkpoints' / '50').mkdir(parents=True)
  return workdir


def check(workdir, **fields):
  """Checks a run whose fields have all been given permission."""
  run = dataclasses.replace(RUN, **fields)
  changes = workdir_lib.check(workdir, run, tuple(fields))
  resuming.check_can_follow(workdir, run, changes)


def test_a_run_may_become_shorter_but_not_than_what_is_done(workdir):
  check(workdir, num_steps=50)
  with pytest.raises(ValueError, match='num_steps is 49, and .* of step 50'):
    check(workdir, num_steps=49)


@pytest.mark.parametrize(
  'fields',
  [
    {'concepts': [schema.ConceptConfig('a joker', 1, ('generic',))]},
    {
      'priors': RUN.priors
      | {'normal': dataclasses.replace(RUN.priors['normal'], weight=0.0)}
    },
  ],
)
def test_the_same_priors_have_to_be_asked(workdir, fields):
  with pytest.raises(ValueError, match='asks the priors generic, normal and'):
    check(workdir, **fields)


def test_the_same_priors_may_be_asked_for_something_else(workdir):
  check(workdir, concepts=[schema.ConceptConfig('a joker')])


def test_a_finished_run_is_not_renamed(workdir):
  changes = workdir_lib.check(
    workdir, dataclasses.replace(RUN, prompt='a joker'), ['prompt']
  )
  with pytest.raises(ValueError, match='finished, so prompt would change noth'):
    resuming.check_unchanged(workdir, changes)
  resuming.check_unchanged(workdir, [])


def test_weights_are_hashed_by_prior_and_file(tmp_path):
  tiny.write_pipeline(tmp_path / 'color', seed=1)
  options = messages.PriorOptions(directory=str(tmp_path / 'color'))
  spec = messages.PriorSpec('generic', options)
  digests = resuming.weight_digests([messages.PriorRecipe(spec, build=None)])
  files = {
    path.relative_to(tmp_path / 'color').as_posix()
    for path in (tmp_path / 'color').rglob('*.safetensors')
  }
  assert set(digests['generic']) == files and files
