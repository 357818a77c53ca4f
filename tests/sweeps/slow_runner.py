"""A runner whose cells do what their names say, in moments."""

import os
import pathlib
import time

from mmdist.sweeps import cell_runner
from mmdist.sweeps import ray_slots


class SlowRunner(ray_slots.Runner):
  """Cells are called 'WORD-...': sleep, die, hang or cores.

  What a cell does, it does once: its folder remembers.
  """

  def run(self, task: cell_runner.Task) -> cell_runner.Outcome:
    self._progress = cell_runner.Progress(task.name, 1)
    word = task.name.partition('-')[0]
    folder = pathlib.Path(task.workdir)
    first = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if word == 'die' and first:
      os._exit(1)
    until = time.monotonic() + (60.0 if word == 'hang' else 0.1)
    while time.monotonic() < until and not self._is_stopping:
      time.sleep(0.01)
    if word == 'cores':
      own = sorted(os.sched_getaffinity(0))
      return cell_runner.Outcome('finished', ','.join(map(str, own)))
    if word == 'hang':
      return cell_runner.Outcome('stopped')
    return cell_runner.Outcome('finished', str(os.getpid()))
