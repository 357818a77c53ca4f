"""A sweep as a command line asks for it; nothing is run."""

import math

import pytest

from experiments import mix
from mmdist.config import experiments
from mmdist.core import errors
from mmdist.sweeps import sweep_command
from mmdist.sweeps import sweeping


@pytest.fixture
def asked(monkeypatch):
  """What `sweeping.sweep` is called with."""
  calls = {}

  def sweep(grid, workdir, **options):
    calls.update(options, grid=grid, workdir=workdir)

  monkeypatch.setattr(sweeping, 'sweep', sweep)
  return calls


def run(config=None, **options):
  config = config or mix.get_config('happy_sad')
  return sweep_command.run(config, sweep_command.Options('runs/x', **options))


def test_axes_and_seeds_are_one_grid(asked):
  run(grid=('happy=0,1', 'sad=0.5'), seeds=('3', '4'))
  assert asked['only'] == [
    'happy_0-sad_0.5-seed_3',
    'happy_0-sad_0.5-seed_4',
    'happy_1-sad_0.5-seed_3',
    'happy_1-sad_0.5-seed_4',
  ]


@pytest.mark.parametrize(
  'flags, numbers',
  [
    ({}, [0, 1, 2, 3]),
    ({'first': 1}, [1, 2, 3]),
    ({'last': 3}, [0, 1, 2]),
    ({'first': 1, 'last': 2}, [1]),
    ({'first': 3, 'last': 9}, [3]),
  ],
)
def test_a_part_is_counted_from_the_first_to_before_the_last(
  flags, numbers, asked
):
  run(seeds=('0', '1', '2', '3'), **flags)
  assert asked['only'] == [f'seed_{number}' for number in numbers]
  # The others are cells of the sweep as well.
  assert len(asked['grid'].cells) == 4


@pytest.mark.parametrize(
  'flags, shown',
  [
    ({'first': 4}, '--first=4 leaves no cell: there are 4, counted from 0'),
    ({'first': 2, 'last': 2}, '--first=2 --last=2 leaves no cell'),
    ({'first': 3, 'last': 1}, '--first=3 --last=1 leaves no cell'),
  ],
)
def test_a_part_without_a_cell_is_one_line_with_what_to_do(flags, shown, asked):
  with pytest.raises(errors.UserError) as error:
    run(seeds=('0', '1', '2', '3'), **flags)
  assert str(error.value).startswith(shown)
  assert str(error.value).endswith('expected --first below 4 and below --last.')
  assert not asked


@pytest.mark.parametrize(
  'flags, named',
  [
    ({'seeds': ('0',), 'cells': 'a.yaml'}, '--seeds and --cells are given'),
    ({'seeds': ('0',), 'study': 'mixes'}, '--seeds and --study are given'),
    ({'grid': ('seed=0',), 'cells': 'a.yaml'}, '--grid and --cells are given'),
    (
      {'grid': ('happy=0',), 'seeds': ('0',), 'study': 'mixes'},
      '--grid and --seeds and --study are given',
    ),
    ({'cells': 'a.yaml', 'study': 'mixes'}, '--cells and --study are given'),
  ],
)
def test_flags_that_exclude_each_other_are_those_that_were_given(
  flags, named, asked
):
  with pytest.raises(errors.UserError, match=f'^{named}; expected axes'):
    run(**flags)
  assert not asked


def test_a_study_may_be_made_in_part(asked):
  run(experiments.load('generate'), study='mixes', first=1, last=3)
  assert asked['only'] == list(mix.PRESETS)[1:3]


@pytest.mark.parametrize('option', ['gpus_per_cell', 'grace_s'])
@pytest.mark.parametrize('value', [math.inf, math.nan])
def test_a_number_without_end_is_one_line(option, value, asked):
  with pytest.raises(errors.UserError, match='expected a finite number'):
    run(seeds=('0',), dry_run=True, **{option: value})
  assert not asked
