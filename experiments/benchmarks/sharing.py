"""What learners cost that share an actor: frozen weights, and all its memory.

  python -m experiments.benchmarks.sharing                # two minutes
  python -m experiments.benchmarks.sharing --prior=DIRECTORY --json

Each row is two processes with priors of so many learners, each of which has
answered a request and fitted its proxy. In one process the learners share the
frozen weights, as the cells of a sweep do; in the other, each has its own.
Weights are counted in the tensors of the priors, each storage once; memory is
what the process has for itself, less what it had before the first prior.
"""

from collections.abc import Sequence
import multiprocessing
import pathlib
import re

from absl import app
from absl import flags
import numpy as np

from mmdist.core import messages
from mmdist.core import strict_json

NUM_LEARNERS = (1, 2, 4, 8)
MIB = 2**20

FLAGS = flags.FLAGS
flags.DEFINE_string('prior', 'color', 'A prior: its directory, or a name.')
flags.DEFINE_integer('resolution', 64, 'Of the renders: H = W.')
flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')

TEXT = 'a portrait of a happy man with green skin and a red hat'


def measure(directory: str, resolution: int) -> list[dict[str, float]]:
  """Returns a row for each number of learners."""
  rows = []
  # A process of its own for each, since none gives all memory back.
  context = multiprocessing.get_context('spawn')
  for count in NUM_LEARNERS:
    row: dict[str, float] = {'learners': count}
    for kind, is_shared in (('shared', True), ('own', False)):
      with context.Pool(1) as pool:
        weights, memory = pool.apply(
          _host, (directory, resolution, count, is_shared)
        )
      row[f'{kind}_weights_mib'] = weights / MIB
      row[f'{kind}_memory_mib'] = memory / MIB
    rows.append(row)
  return rows


def _host(
  directory: str, resolution: int, count: int, is_shared: bool
) -> tuple[int, int]:
  """Returns bytes of the frozen weights of so many learners, and of memory."""
  from mmdist.priors import prior as priors

  before = _private_bytes()
  options = messages.PriorOptions(directory=directory, device='cpu')
  spec = messages.PriorSpec('prior', options, files='all' if is_shared else '')
  # Kept in a list: a model is freed with the last prior that uses it.
  hosted = []
  for learner in range(count):
    prior = priors.build(spec)
    prior.score(_request(learner, resolution))
    prior.fit()
    hosted.append(prior)
  storages = {
    tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
    for prior in hosted
    for name, tensor in prior.pipeline.denoiser.state_dict().items()
    if 'lora_' not in name
  }
  return sum(storages.values()), _private_bytes() - before


def _private_bytes() -> int:
  """Returns the memory that no other process has, bytes. Linux."""
  text = pathlib.Path('/proc/self/smaps_rollup').read_text('utf-8')
  return 1024 * sum(map(int, re.findall(r'Private_\w+: +(\d+) kB', text)))


def _request(seed: int, resolution: int) -> messages.ScoreRequest:
  rng = np.random.default_rng(seed)
  return messages.ScoreRequest(
    step=0,
    images=rng.random((1, resolution, resolution, 3), dtype=np.float32),
    terms=(messages.Term((TEXT,), TEXT, 1.0, 8.0),),
    noise_levels=np.full(1, 0.5, np.float32),
    seed=seed,
    proxy_step=0,
    proxy_learning_rate=1e-3,
  )


def main(_: Sequence[str]) -> None:
  rows = measure(FLAGS.prior, FLAGS.resolution)
  if FLAGS.json:
    print(strict_json.dumps(rows))
    return
  print(' | '.join(rows[0]))
  for row in rows:
    print(' | '.join(f'{value:.1f}' for value in row.values()))


if __name__ == '__main__':
  app.run(main)
