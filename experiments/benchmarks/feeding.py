"""How fast pixels of a pretraining are drawn, and what its steps wait for.

  python -m experiments.benchmarks.feeding

One thread draws batches of a random set, with their pixels and without (for
pictures that lie on the device). Then a NeRF of two tiny networks takes steps,
so that little of a step is its own computation.
"""

import argparse
from collections.abc import Sequence
import statistics
import time
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import rows as rows_lib
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.data import multiview
from mmdist.data import pixel_stream
from mmdist.learner import pretrain
from mmdist.nerf import field
from mmdist.training import pixel_feeding

TINY = schema.NerfConfig(
  code_size=3,
  nerf_depth=1,
  nerf_width=8,
  proposal_depth=1,
  proposal_width=4,
  num_proposal_samples=3,
  num_nerf_samples=2,
  position_levels=1,
)


def random_set(
  num_subjects: int, num_cameras: int, resolution: int
) -> multiview.MultiviewSet:
  """Returns pictures of noise, by cameras in front of the head."""
  rng = np.random.default_rng(0)
  lead = (num_subjects, num_cameras)
  pose = np.eye(4, dtype=np.float32)[:3]
  pose[2, 3] = 3.0
  return multiview.MultiviewSet(
    rng.integers(0, 256, (*lead, resolution, resolution, 4), np.uint8),
    np.broadcast_to(pose, (*lead, 3, 4)).copy(),
    np.full(lead, 0.4, np.float32),
  )


def measure_drawing(
  pictures: multiview.MultiviewSet, batch_size: int, repeats: int = 20
) -> list[dict[str, Any]]:
  """Returns rows: what one thread draws, and what it takes to send it.

  Args:
    pictures: that are drawn from.
    batch_size: rays.
    repeats: batches of which the median counts.
  """
  layout = device_mesh.local_layout(1)
  rows = []
  for draws_only in (False, True):
    stream = pixel_stream.PixelStream(
      pictures, batch_size, 0, draws_only=draws_only
    )
    drawing, sending = [], []
    for number in range(repeats):
      start = time.perf_counter()
      batch = stream.draw(number)
      between = time.perf_counter()
      jax.block_until_ready(layout.replicate(batch))
      drawing.append(between - start)
      sending.append(time.perf_counter() - between)
    draw_s, send_s = statistics.median(drawing), statistics.median(sending)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
    rows.append(
      {
        'batch': 'numbers' if draws_only else 'pixels',
        'rays': batch_size,
        'bytes_per_ray': size / batch_size,
        'draw_ms': 1e3 * draw_s,
        'send_ms': 1e3 * send_s,
        'million_rays_per_s': batch_size / draw_s / 1e6,
      }
    )
  return rows


def time_steps(
  config: pretrain.PretrainConfig,
  pictures: multiview.MultiviewSet,
  num_steps: int = 8,
) -> dict[str, float]:
  """Returns seconds of steps as `mmdist.training.pretraining` takes them.

  Args:
    config: of the network, its batches and where pictures lie.
    pictures: that are learned from.
    num_steps: that count; those that compile do not.
  """
  training = pretrain.make_pretraining(
    field.conditional_nerf(config.nerf), config
  )
  layout = training.layout
  placed = pixel_feeding.place_pictures(config, pictures, layout)
  stream = pixel_feeding.make_stream(config, pictures, placed is not None)
  state = layout.replicate(jax.device_get(training.init(pictures.num_subjects)))
  start = time.perf_counter()
  state, metrics = training.step(state, next(stream), placed)
  jax.block_until_ready(metrics)
  found = {'first_step_s': time.perf_counter() - start}
  start, waited = time.perf_counter(), 0.0
  for _ in range(num_steps):
    before = time.perf_counter()
    batch = next(stream)
    waited += time.perf_counter() - before
    state, metrics = training.step(state, batch, placed)
    jax.block_until_ready(metrics)
  seconds = time.perf_counter() - start
  # What the compiled function takes by itself, of a batch that is there.
  batch = layout.replicate(batch)
  jax.block_until_ready(training.step(state, batch, placed))  # Compiles again.
  before = time.perf_counter()
  for _ in range(num_steps):
    state, metrics = training.step(state, batch, placed)
    jax.block_until_ready(metrics)
  alone = time.perf_counter() - before
  return found | {
    'step_ms': 1e3 * seconds / num_steps,
    'waiting_for_pixels_ms': 1e3 * waited / num_steps,
    'compiled_ms': 1e3 * alone / num_steps,
    'million_rays_per_s': num_steps * config.batch_size / seconds / 1e6,
  }


def main(arguments: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--rays', type=int, default=65536)
  parser.add_argument('--subjects', type=int, default=60)
  parser.add_argument('--resolution', type=int, default=256)
  parser.add_argument('--json', action='store_true')
  given = parser.parse_args(arguments)
  pictures = random_set(given.subjects, 14, given.resolution)
  rows_lib.show(measure_drawing(pictures, given.rays), given.json)
  rows = []
  for pixels in ('host', 'device'):
    config = pretrain.PretrainConfig(
      nerf=TINY,
      batch_size=given.rays,
      chunk_size=given.rays,
      num_devices=1,
      pixels=pixels,
    )
    rows.append({'pixels': pixels} | time_steps(config, pictures))
  rows_lib.show(rows, given.json)


if __name__ == '__main__':
  main()
