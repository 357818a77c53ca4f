"""What a prior's step costs in each dtype on this machine's processor.

  python -m experiments.benchmarks.dtypes                # a minute
  python -m experiments.benchmarks.dtypes --prior=DIRECTORY --json

A step is a score of the views and the proxy's fit that follows. Rounds
alternate between the dtypes, on one thread; the medians are printed.
"""

from collections.abc import Sequence
import statistics
import time
from typing import Any

from absl import app
from absl import flags
import numpy as np

from mmdist.core import messages
from mmdist.core import strict_json

FLAGS = flags.FLAGS
flags.DEFINE_string('prior', 'color', 'A prior: its directory, or a name.')
flags.DEFINE_integer('views', 2, 'Views of a step.')
flags.DEFINE_integer('rounds', 7, 'Steps in each dtype; the first is left out.')
flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')

TEXT = 'a portrait of a happy man with green skin and a red hat'


def measure(directory: str, num_views: int, rounds: int) -> list[dict]:
  """Returns a row for each dtype."""
  from mmdist.priors import prior as priors

  opened = {}
  for dtype in messages.DTYPES:
    options = messages.PriorOptions(
      directory=directory, dtype=dtype, device='cpu'
    )
    opened[dtype] = priors.build(messages.PriorSpec('timed', options))
  seconds: dict[str, list[tuple[float, float]]] = {d: [] for d in opened}
  for step in range(rounds):
    request = _request(step, num_views)
    for dtype, prior in opened.items():
      start = time.perf_counter()
      prior.score(request)
      scored = time.perf_counter()
      prior.fit()
      now = time.perf_counter()
      seconds[dtype].append((scored - start, now - scored))
  rows: list[dict[str, Any]] = []
  for dtype, prior in opened.items():
    scores, fits = zip(*seconds[dtype][1:], strict=True)
    rows.append(
      {
        'dtype': dtype,
        'computes_in': str(prior.pipeline.dtype).removeprefix('torch.'),
        'score_s': statistics.median(scores),
        'fit_s': statistics.median(fits),
      }
    )
  return rows


def _request(step: int, num_views: int) -> messages.ScoreRequest:
  rng = np.random.default_rng(step)
  return messages.ScoreRequest(
    step=step,
    images=rng.random((num_views, 64, 64, 3), dtype=np.float32),
    terms=(messages.Term((TEXT,) * num_views, TEXT, 1.0, 8.0),),
    noise_levels=np.full(num_views, 0.5, np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=1e-3,
  )


def main(_: Sequence[str]) -> None:
  rows = measure(FLAGS.prior, FLAGS.views, FLAGS.rounds)
  if FLAGS.json:
    print(strict_json.dumps(rows))
    return
  print('dtype | computes in | score, s | fit, s')
  for row in rows:
    print(
      f'{row["dtype"]} | {row["computes_in"]} | {row["score_s"]:.3f} | '
      f'{row["fit_s"]:.3f}'
    )


if __name__ == '__main__':
  app.run(main)
