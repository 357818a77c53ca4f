import types

from mmdist.sweeps import cell_runner
from mmdist.sweeps import sweep_progress


class Sitting:
  """A sweep of two cells of 100 steps, and its clock."""

  def __init__(self):
    self.now = 0.0
    self.at = {}
    self.lines = []
    cells = [
      types.SimpleNamespace(
        name=name, config=types.SimpleNamespace(num_steps=100)
      )
      for name in 'ab'
    ]
    self.progress = sweep_progress.SweepProgress(
      cells, lambda: self.at, self.lines.append, lambda: self.now
    )

  def say(self, **at: tuple[int, int]) -> str:
    """Returns what is said 30 s later of cells at (step, restored)."""
    self.now += sweep_progress.SAY_EVERY_S
    self.at = {
      name: cell_runner.Progress(name, *steps) for name, steps in at.items()
    }
    self.progress.say()
    return self.lines[-1]


def test_nothing_is_said_too_soon():
  sitting = Sitting()
  sitting.now = 29.0
  sitting.progress.say()
  assert not sitting.lines


def test_the_time_left_follows_from_the_steps_of_this_sitting():
  sitting = Sitting()
  assert sitting.say() == '0 of 2 cells, 0 of 200 steps; running: none yet'
  # The cell found 40 steps in its checkpoint and made 10 in 30 s.
  assert sitting.say(a=(50, 40)) == (
    '0 of 2 cells, 50 of 200 steps, about 7 min 30 s to go; running: a 50'
  )
  assert sitting.say(a=(60, 40)).startswith(
    '0 of 2 cells, 60 of 200 steps, about 7 min 00 s to go'
  )


def test_a_later_attempt_does_not_take_back_steps_that_were_made():
  sitting = Sitting()
  sitting.say()
  sitting.say(a=(50, 40))
  # It died, and goes on from the checkpoint at step 50.
  assert sitting.say(a=(60, 50)).startswith(
    '0 of 2 cells, 60 of 200 steps, about 7 min 00 s to go'
  )


def test_a_cell_that_ended_is_behind_it():
  sitting = Sitting()
  sitting.say(a=(10, 0))
  sitting.progress.ended('a')
  assert sitting.say(b=(10, 0)).startswith('1 of 2 cells, 110 of 200 steps')


def test_a_runner_knows_what_its_cell_found_in_the_checkpoint():
  runner = cell_runner.CellRunner()
  step = types.SimpleNamespace(number=41, stop=lambda: None)
  runner._on_step(step)
  assert runner.progress() == cell_runner.Progress('', 41, 40)
  step.number = 42
  runner._on_step(step)
  assert runner.progress() == cell_runner.Progress('', 42, 40)
