"""What an answer of a prior costs, in forward passes of its frozen network.

  python -m experiments.benchmarks.scores [--rounds=15] [--json]

The embedded colour prior on one thread, in this process, on four views. A base
forward is one pass of the frozen network over the views' noised renders at one
text each. With guidance a score of SDS takes two of them and one of VSD three,
that of the proxy with its adapters; then there are the way to latents and back,
texts, and what is counted of each concept. Everything takes its turn in every
round, medians are told. A minute.
"""

from collections.abc import Callable, Sequence
import functools
import statistics
import time
from typing import Any

from absl import app
from absl import flags
import numpy as np
import torch

from mmdist.core import messages
from mmdist.core import strict_json
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import score as scores

NUM_VIEWS, RESOLUTION = 4, 64
PROMPT = 'a portrait of a happy man'

FLAGS = flags.FLAGS
flags.DEFINE_integer('rounds', 15, 'Turns of each; the first is not counted.')
flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')


def make_prior(
  objective: str, dtype: str, batched: bool = False
) -> priors.DiffusionPrior:
  """Returns the embedded colour prior on one thread."""
  memory = messages.MemoryOptions(batched=batched)
  options = messages.PriorOptions(
    objective=objective, dtype=dtype, device='cpu', memory=memory
  )
  return priors.build(messages.PriorSpec('color', options, num_threads=1))


def ask(prior: priors.DiffusionPrior, step: int) -> messages.ScoreRequest:
  """Returns a question about four pictures of noise."""
  rng = np.random.default_rng(step)
  shape = (NUM_VIEWS, RESOLUTION, RESOLUTION, 3)
  return messages.ScoreRequest(
    step=step,
    images=rng.uniform(size=shape).astype(np.float32),
    terms=(messages.Term((PROMPT,) * NUM_VIEWS, PROMPT, 1.0, 8.0),),
    noise_levels=np.full(NUM_VIEWS, 0.6, np.float32),
    seed=0,
    proxy_step=prior.proxy_step,
    proxy_learning_rate=1e-4,
  )


def forward_of(prior: priors.DiffusionPrior) -> Callable[[], Any]:
  """Returns one pass of the frozen network over the views of a question."""
  pipeline = prior.pipeline
  request = ask(prior, 0)
  prior.score(request)
  shown = scores.score(pipeline, None, request).noised
  inputs = pipelines.inputs_of(
    pipeline,
    shown.noisy,
    shown.timestep,
    pipeline.text.encode([PROMPT] * NUM_VIEWS),
  )

  def forward() -> Any:
    with torch.no_grad():
      return pipelines.predict_at(pipeline, *inputs)

  return forward


def measure(rounds: int) -> list[dict[str, Any]]:
  """Returns a row for each kind of answer, by dtype."""
  rows = []
  for dtype in ('float32', 'bfloat16'):
    plain = make_prior('sds', dtype)
    answering = {
      'SDS': plain,
      'VSD': make_prior('vsd', dtype),
      'VSD, batched': make_prior('vsd', dtype, batched=True),
    }
    forward = forward_of(plain)
    taken: dict[str, list[float]] = {'forward': []}
    for step in range(1, rounds + 1):
      _time(taken, 'forward', forward)
      for name, prior in answering.items():
        request = ask(prior, step)
        _time(taken, name, functools.partial(prior.score, request))
        _time(taken, f'{name} fit', prior.fit)
    middle = {name: statistics.median(all_[1:]) for name, all_ in taken.items()}
    rows += [
      {
        'dtype': dtype,
        'answer': name,
        'forward_s': middle['forward'],
        'score_s': middle[name],
        'fit_s': middle[f'{name} fit'],
        'score_over_forward': middle[name] / middle['forward'],
        'fit_over_forward': middle[f'{name} fit'] / middle['forward'],
      }
      for name in answering
    ]
  return rows


def _time(
  taken: dict[str, list[float]], name: str, call: Callable[[], Any]
) -> None:
  begin = time.perf_counter()
  call()
  taken.setdefault(name, []).append(time.perf_counter() - begin)


def main(argv: Sequence[str]) -> None:
  del argv
  rows = measure(FLAGS.rounds)
  if FLAGS.json:
    print(strict_json.dumps(rows))
    return
  print('dtype     answer        forward_s  score x  fit x')
  for row in rows:
    print(
      f'{row["dtype"]:9} {row["answer"]:13} {row["forward_s"]:9.4f}'
      f' {row["score_over_forward"]:8.2f} {row["fit_over_forward"]:6.2f}'
    )


if __name__ == '__main__':
  app.run(main)
