"""A run on a GPU that was stopped goes on bit for bit, in one process."""

import pytest

from experiments import smoke
from mmdist.api import optimization

pytestmark = pytest.mark.gpu
DEVICE = 'cuda'


def take_steps(folder, stop: int = 0) -> str:
  config = smoke.get_config()
  config.num_steps = 4
  config.results.judge = ''
  for prior in config.priors.values():
    prior.device = DEVICE

  def stop_there(step):
    if step.number == stop:
      step.stop()

  run = optimization.optimize(
    None, folder, config=config, executor='inline', on_step=stop_there
  )
  assert run.step == (stop or 4)
  return run.digest()


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path):
  whole = take_steps(tmp_path / 'whole')
  take_steps(tmp_path / 'stopped', stop=2)
  assert take_steps(tmp_path / 'stopped') == whole
