"""The learner over cores, processes and sizes of pictures.

  python -m experiments.benchmarks.spread [--rounds=3] [--steps=7] [--json]

The two halves of a step of the embedded field, as a run calls them: the render
until its pictures are there as numpy, and the rest, until the gradient is. The
first table divides the rays over devices of one process and over processes
(learner.num_hosts); the second makes pictures larger, for which the memory of a
process should not grow but by what crosses to the priors. Each row is measured
in processes of its own, with a core for each device as far as there are so
many; rounds alternate between rows, and medians are told. Several minutes.
"""

from collections.abc import Sequence
import dataclasses
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from absl import app
from absl import flags

from mmdist.core import cores as cores_lib
from mmdist.core import strict_json
from mmdist.distribution import variables

NUM_VIEWS = 2
_CHILD = 'from experiments.benchmarks import spread; spread.work()'

FLAGS = flags.FLAGS
flags.DEFINE_integer('rounds', 3, 'Times that each row is measured.')
flags.DEFINE_integer('steps', 7, 'Steps each time, after one that compiles.')
flags.DEFINE_bool('json', False, 'Print JSON instead of tables.')


@dataclasses.dataclass(frozen=True)
class Row:
  """Over what the rays of a step are divided.

  Attributes:
    processes: each a host of the learner.
    devices: of each, a thread each.
    resolution: H = W of each of two views.
  """

  processes: int = 1
  devices: int = 1
  resolution: int = 64


SPREADS = (Row(), Row(devices=2), Row(2), Row(4))
SIZES = tuple(Row(devices=2, resolution=size) for size in (32, 64, 128))


def work() -> None:
  """Is one process of a row; its arguments are rank, port, steps and the row.

  That of rank 0 prints what it measured as JSON.
  """
  rank, port, steps, *numbers = map(int, sys.argv[1:])
  row = Row(*numbers)
  # A core for each device, as hosts of their own would have. Otherwise XLA's
  # library for products takes others, and one device is more than one core.
  cores = cores_lib.usable()
  first = rank * row.devices
  cores_lib.keep_to(
    {cores[(first + i) % len(cores)] for i in range(row.devices)}
  )
  from mmdist.config import schema
  from mmdist.learner import host_joining
  from mmdist.learner import mirror
  from mmdist.learner import start
  from mmdist.run import device_setup
  from mmdist.run import opening

  device_setup.set_up_jax(row.devices)
  run = schema.RunConfig()
  run.views.resolution = row.resolution
  run.learner.num_hosts = row.processes
  run.learner.empty_opacity = 0.0  # All rays: as many on every device.
  hosts = None
  if row.processes > 1:
    address = f'127.0.0.1:{port}'
    hosts = host_joining.join(row.processes, {}, f'{rank}', address, rank)
  representation = opening.representation_of(run)
  learner = mirror.make_learner(representation, run, hosts=hosts)
  if rank and hosts:
    mirror.follow(learner, representation, run, hosts)
    hosts.close()
    return
  _measure(learner, run, start.load_params(run), steps)
  if hosts:
    hosts.close()


def _measure(learner: Any, run: Any, params: Any, steps: int) -> None:
  import jax

  from mmdist.learner import distill

  learner.warm_up(params)
  state = learner.init(params)
  renders, rest = [], []
  for step in range(steps + 1):
    batch = distill.sample_batch(run.views, run.seed, step)
    begin = time.monotonic()
    pictures = learner.render_views(state, batch)
    middle = time.monotonic()
    cotangents = {
      'rgb': (pictures.rgb - 0.5) / pictures.rgb.size,
      'normal': (pictures.normals - 0.5) / pictures.normals.size,
    }
    state, _ = learner.apply_cotangents(state, batch, cotangents)
    jax.block_until_ready(state)
    if step:  # The first one may still compile.
      renders.append(middle - begin)
      rest.append(time.monotonic() - middle)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  found = {
    'render_s': statistics.median(renders),
    'rest_s': statistics.median(rest),
    'peak_rss_bytes': peak,
  }
  print(strict_json.dumps(found))


def measure(row: Row, steps: int) -> dict[str, float]:
  """Returns what the processes of a row have measured."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  numbers = map(str, (port, steps, *dataclasses.astuple(row)))
  words = list(numbers)
  with variables.restored('JAX_PLATFORMS'):
    os.environ['JAX_PLATFORMS'] = 'cpu'
    children = [
      subprocess.Popen(
        [sys.executable, '-c', _CHILD, str(rank), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for rank in range(row.processes)
    ]
  said = [child.communicate() for child in children]
  for child, (_, wrong) in zip(children, said, strict=True):
    if child.returncode:
      raise RuntimeError(f'a process of {row} failed: {wrong[-2000:]}')
  found: dict[str, float] = json.loads(said[0][0].splitlines()[-1])
  return found


def medians(
  rows: Sequence[Row], rounds: int, steps: int
) -> list[dict[str, Any]]:
  """Measures rows in turns; returns the medians of each."""
  found: list[list[dict[str, float]]] = [[] for _ in rows]
  for _ in range(rounds):
    for row, taken in zip(rows, found, strict=True):
      taken.append(measure(row, steps))
  table = []
  for row, taken in zip(rows, found, strict=True):
    middle = {
      name: statistics.median(one[name] for one in taken) for name in taken[0]
    }
    steps_s = [one['render_s'] + one['rest_s'] for one in taken]
    spread = {'least_s': min(steps_s), 'most_s': max(steps_s)}
    table.append({**dataclasses.asdict(row), **middle, **spread})
  return table


def main(argv: Sequence[str]) -> None:
  del argv
  rounds, steps = FLAGS.rounds, FLAGS.steps
  spreads = medians(SPREADS, rounds, steps)
  sizes = medians(SIZES, rounds, steps)
  if FLAGS.json:
    print(strict_json.dumps({'spreads': spreads, 'sizes': sizes}))
    return
  one = spreads[0]
  print('processes devices  render_s  rest_s  render x  rest x  step_s')
  for row in spreads:
    print(
      f'{row["processes"]:9} {row["devices"]:7}'
      f' {row["render_s"]:9.3f} {row["rest_s"]:7.3f}'
      f' {one["render_s"] / row["render_s"]:9.2f}'
      f' {one["rest_s"] / row["rest_s"]:7.2f}'
      f'  {row["least_s"]:.2f} to {row["most_s"]:.2f}'
    )
  print('\nresolution  step_s  us per ray  peak MiB')
  for row in sizes:
    step = row['render_s'] + row['rest_s']
    rays = NUM_VIEWS * row['resolution'] ** 2
    print(
      f'{row["resolution"]:10} {step:7.3f} {1e6 * step / rays:11.1f}'
      f' {row["peak_rss_bytes"] / 2**20:9.0f}'
    )


if __name__ == '__main__':
  app.run(main)
