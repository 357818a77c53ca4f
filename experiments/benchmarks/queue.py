"""How busy a sweep keeps its slots: 200 tiny cells over three machines.

  python -m experiments.benchmarks.queue [--cells=200] [--cell_s=2] [--json]

Three machines are three nodes of a Ray on this one, each with room for some
cells; a cell sleeps. Busy is the share of all slots' time, from the first
cell's start to the last one's end, in which a cell ran; the last cells, which
leave some slots empty, count too. A minute.
"""

from collections.abc import Sequence
import logging
import math
import tempfile
import time

from absl import app
from absl import flags
import ray
from ray import cluster_utils

from mmdist.config import schema
from mmdist.core import strict_json
from mmdist.sweeps import cell_runner
from mmdist.sweeps import ray_slots
from mmdist.sweeps import scheduling

NODES = 3

FLAGS = flags.FLAGS
flags.DEFINE_integer('cells', 200, 'How many.')
flags.DEFINE_integer('slots', 4, 'Of each machine.')
flags.DEFINE_float('cell_s', 2.0, 'How long a cell sleeps.')
flags.DEFINE_bool('json', False, 'Print JSON instead of a line.')


class Sleeper(ray_slots.Runner):
  """A cell that sleeps, and says when."""

  def run(self, task: cell_runner.Task) -> cell_runner.Outcome:
    self._progress = cell_runner.Progress(task.name, 1)
    start = time.time()
    time.sleep(float(task.log))
    return cell_runner.Outcome('finished', f'{start} {time.time()}')


def measure() -> dict[str, float]:
  """Returns what `--json` prints."""
  cluster = cluster_utils.Cluster(
    initialize_head=True, head_node_args={'num_cpus': 0}
  )
  for _ in range(NODES):
    cluster.add_node(num_cpus=FLAGS.slots)
  cluster.wait_for_nodes()
  ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
  num_slots = NODES * FLAGS.slots
  with tempfile.TemporaryDirectory() as folder:

    def make_task(job: scheduling.Job) -> cell_runner.Task:
      return cell_runner.Task(
        job.name, schema.RunConfig(), folder, str(FLAGS.cell_s)
      )

    slots = ray_slots.RaySlots(
      ray_slots.Size(1), num_slots, make_task, lambda job: None, Sleeper
    )
    while slots.free() < num_slots:  # Processes start, once for all cells.
      slots.wait(1.0)
    ended = scheduling.run_all(
      [f'cell-{number}' for number in range(FLAGS.cells)], slots
    )
    slots.close()
  ray.shutdown()
  cluster.shutdown()
  times = [tuple(map(float, one.error.split())) for one in ended.values()]
  first, last = min(t[0] for t in times), max(t[1] for t in times)
  busy = math.fsum(end - start for start, end in times)
  # So many cells at a time leave this share empty in any order.
  waves = math.ceil(FLAGS.cells / num_slots)
  return {
    'cells': FLAGS.cells,
    'slots': num_slots,
    'seconds': last - first,
    'busy': busy / (num_slots * (last - first)),
    'busy_at_best': FLAGS.cells / (waves * num_slots),
  }


def main(_: Sequence[str]) -> None:
  found = measure()
  if FLAGS.json:
    print(strict_json.dumps(found))
    return
  print(', '.join(f'{name} {value:.4g}' for name, value in found.items()))


if __name__ == '__main__':
  app.run(main)
