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


def jumps(workdir, num_steps, *schedules, step=50):
  """Returns what is said of a run of 100 steps that has another number now."""
  (workdir / 'checkpoints' / str(step)).mkdir(exist_ok=True)
  run = dataclasses.replace(
    RUN,
    num_steps=num_steps,
    concepts=[
      schema.ConceptConfig(f'concept {i}', 2.0, schedule=schedule)
      for i, schedule in enumerate(schedules)
    ],
  )
  changes = workdir_lib.check(workdir, run, ('num_steps', 'concepts'))
  return resuming.rescaled_schedules(workdir, run, changes)


def test_more_steps_say_in_one_line_how_scheduled_weights_jump(workdir):
  (line,) = jumps(workdir, 199, 'linear(1, 0)', '', 'linear(0, 1)', step=99)
  assert line == (
    'num_steps: 100 -> 199 stretches the schedules of weights, which follow '
    "the share of the run; at step 99 that of 'concept 0' from 0 to 1, that of "
    "'concept 2' from 2 to 1. To keep them, write them as piecewise(...) in "
    'shares of 199 steps.'
  )
  # After the last of the old steps, its weight is what would have stayed.
  (line,) = jumps(workdir, 201, 'linear(1, 0)', step=100)
  assert "at step 100 that of 'concept 0' from 0 to 1." in line


def test_weights_that_do_not_jump_are_not_spoken_of(workdir):
  assert not jumps(workdir, 200, '', 'constant')
  assert not jumps(workdir, 100, 'linear(1, 0)')
  # In the first half of either run it is 1.
  assert not jumps(workdir, 200, 'piecewise(0.6: 1, 1: 0)')
  # As the line advises.
  kept = 'piecewise(0: 1, 0.5: 0)'
  assert not jumps(workdir, 199, kept, step=100)


def test_a_run_without_a_checkpoint_begins_with_the_new_schedule(tmp_path):
  workdir = workdir_lib.claim(tmp_path / 'young', RUN)
  (workdir / 'checkpoints').mkdir()
  run = dataclasses.replace(
    RUN,
    num_steps=200,
    concepts=[schema.ConceptConfig('a man', schedule='linear(1, 0)')],
  )
  changes = workdir_lib.check(workdir, run, ('num_steps', 'concepts'))
  assert not resuming.rescaled_schedules(workdir, run, changes)


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
