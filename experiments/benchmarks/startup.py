"""How long a run takes from its command to its first step, part by part.

  python -m experiments.benchmarks.startup [--rounds=3] [--cold] [--json]

A process of its own starts `generate`, takes one step and stops, once with the
priors inline and once in Ray's actors, taking turns. Its caches are in a folder
of their own: warm is what the starts after the first find, and with --cold each
start has an empty one, too. What is told of a part is how long the learner's
thread was in it: Ray starts, and priors load, while the learner compiles. Some
minutes.
"""

from collections.abc import Callable, Sequence
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app
from absl import flags

from mmdist.core import strict_json
from mmdist.distribution import variables

# In the order in which they end, with what they are.
PARTS = {
  'import': 'Python, the configuration and the library',
  'checks': 'all that is checked before anything is loaded',
  'executor': 'Ray started, or the priors loaded inline',
  'compile': 'compiling that was left after that',
  'priors': 'waiting for priors that load in actors',
  'step': 'the first step',
  'total': 'from the command to the end of the first step',
  'learner_core_s': "processor time of the learner's process",
}
_CHILD = 'from experiments.benchmarks import startup; startup.start()'

FLAGS = flags.FLAGS
flags.DEFINE_integer('rounds', 3, 'Starts of each kind; their median is told.')
flags.DEFINE_bool('cold', False, 'Start with empty caches, too.')
flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')


def start() -> None:
  """Starts a run in this process, and prints its parts as JSON.

  Its arguments are the executor, the folder, and when the command was given.
  """
  executor, folder, begin = sys.argv[1], sys.argv[2], float(sys.argv[3])
  from experiments import generate
  from mmdist import loop
  from mmdist.api import executors
  from mmdist.api import optimization
  from mmdist.learner import warming
  from mmdist.run import callbacks
  from mmdist.run import recovery

  ends: dict[str, float] = {'import': time.time()}

  def noted(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
      try:
        return function(*args, **kwargs)
      finally:
        ends[part] = time.time()

    return call

  def stop(step: callbacks.Step) -> None:
    ends['step'] = time.time()
    step.stop()

  # The run has these parts in its functions, and tells nobody their times.
  for module, name, part in (
    (warming, 'begin', 'checks'),
    (executors, 'start', 'executor'),
    (loop.checkpointing.CheckpointStore, 'restore_or_init', 'compile'),
    (recovery.Recovery, '__init__', 'priors'),
  ):
    setattr(module, name, noted(getattr(module, name), part))
  config = generate.get_config('default')
  config.num_steps = 2
  optimization.optimize(
    None, folder, config=config, executor=executor, on_step=stop
  )
  used = resource.getrusage(resource.RUSAGE_SELF)
  row, last = {}, begin
  for part in [part for part in PARTS if part in ends]:
    row[part], last = ends[part] - last, ends[part]
  row['total'] = last - begin
  row['learner_core_s'] = used.ru_utime + used.ru_stime
  print(strict_json.dumps(row))


def measure(executor: str, cache: str) -> dict[str, float]:
  """Starts one run in a process of its own, and returns its parts.

  Args:
    executor: 'inline' or 'ray'.
    cache: folder of the user's caches.
  """
  with (
    tempfile.TemporaryDirectory() as folder,
    variables.restored('XDG_CACHE_HOME'),
  ):
    os.environ['XDG_CACHE_HOME'] = cache
    words = [executor, f'{folder}/run', repr(time.time())]
    done = subprocess.run(
      [sys.executable, '-c', _CHILD, *words],
      check=True,
      stdout=subprocess.PIPE,
      text=True,
    )
  row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
  return row


def measure_all(rounds: int, cold: bool) -> dict[str, dict[str, float]]:
  """Returns the medians of every kind of start, by its name."""
  rows: dict[str, list[dict[str, float]]] = {}
  with tempfile.TemporaryDirectory() as cache:
    for number in range(rounds + 1):
      for executor in ('inline', 'ray'):
        row = measure(executor, cache)
        if number:  # The first one fills the cache.
          rows.setdefault(f'{executor}, warm', []).append(row)
    for _ in range(rounds if cold else 0):
      for executor in ('inline', 'ray'):
        with tempfile.TemporaryDirectory() as empty:
          row = measure(executor, empty)
          rows.setdefault(f'{executor}, cold', []).append(row)
  return {
    name: {part: statistics.median(row[part] for row in all_) for part in PARTS}
    for name, all_ in rows.items()
  }


def main(_: Sequence[str]) -> None:
  found = measure_all(FLAGS.rounds, FLAGS.cold)
  if FLAGS.json:
    print(strict_json.dumps(found))
    return
  print(''.join(f'{name:>14}' for name in found))
  for part, about in PARTS.items():
    cells = ''.join(f'{row[part]:14.2f}' for row in found.values())
    print(f'{cells}  {part}: {about}')


if __name__ == '__main__':
  app.run(main)
