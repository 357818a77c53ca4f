"""The real thing, killed: embedded priors in Ray actors, the real launcher."""

import signal

import pytest

from mmdist.run import opening
from tests.chaos import processes

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
# Five steps, checkpoints after 2, 4 and 5.
KILLS = ('score:0', 'update:2', 'committed:2', 'update:3', 'update:4')


def flags(workdir) -> list[str]:
  return [
    '--config=experiments/smoke.py',
    '--config.num_steps=5',
    '--config.checkpoints.every=2',
    '--config.results.turntable_views=1',
    f'--workdir={workdir}',
  ]


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('jax')


@pytest.fixture(scope='module')
def whole(tmp_path_factory, cache):
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  code, _, errors = processes.run('--', *flags(workdir), cache=cache)
  assert code == 0, errors
  return opening.digest(workdir)


@pytest.mark.parametrize('kill', KILLS)
def test_a_killed_run_goes_on_to_the_last_bit(kill, tmp_path, cache, whole):
  workdir = tmp_path / 'run'
  code, _, errors = processes.run(
    f'--die={kill}', '--', *flags(workdir), cache=cache
  )
  assert code == -signal.SIGKILL, errors
  code, _, errors = processes.run('--', *flags(workdir), cache=cache)
  assert code == 0, errors
  assert opening.digest(workdir) == whole
