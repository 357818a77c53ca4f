"""What a step costs beyond its slowest prior: inline and Ray, 1 to 8 priors.

  python -m experiments.benchmarks.priors                  # fakes, 2.5 minutes
  python -m experiments.benchmarks.priors --embedded       # more than 3 minutes
  python -m experiments.benchmarks.priors --json

The fakes answer after a set time, in which they sleep, and fit for a third of
it; the learner is a sleep too. So what is measured is the way there and back:
requests and answers of four views of 64 x 64 pixels through Ray's store, and
what the learner's side does with them. Rounds alternate between all settings.

With --embedded the shipped priors pull on a head, in actors. The learner waits
for the prior that answers last: for its networks, for the end of its fit if
that is not over yet, and for the rest of the time for Ray, whose share of the
step is shown.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import statistics
import tempfile
import time
from typing import Any

from absl import app
from absl import flags
import numpy as np

from experiments.benchmarks import rows as rows_lib
import mmdist
from mmdist.api import function_prior
from mmdist.core import messages
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor

NUM_PRIORS = (1, 2, 4, 8)
NUM_VIEWS, RESOLUTION = 4, 64

FLAGS = flags.FLAGS
flags.DEFINE_float('service_s', 0.3, 'How long a fake takes to answer.')
flags.DEFINE_float('learner_s', 0.2, "How long the learner's own work takes.")
flags.DEFINE_integer('steps', 15, 'Steps of each setting and round.')
flags.DEFINE_integer('rounds', 3, 'Rounds, which alternate between settings.')
flags.DEFINE_bool('embedded', False, 'Measure the shipped priors instead.')
flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')


class Sleeper(function_prior.FunctionPrior):
  """A prior that answers and fits after a set time."""

  def __init__(self, spec: messages.PriorSpec):
    super().__init__(spec.name, spec.options.channel, self._sleep)
    self._service_s = float(spec.options.directory)

  def _sleep(self, request: messages.ScoreRequest) -> np.ndarray:
    time.sleep(self._service_s)
    return request.images * np.float32(1e-3)

  def fit(self) -> Mapping[str, float]:
    """Sleeps for a third of that."""
    time.sleep(self._service_s / 3)
    return super().fit()


def sleepers(count: int, service_s: float) -> list[messages.PriorRecipe]:
  """Returns the recipes of so many fakes."""
  options = messages.PriorOptions(directory=str(service_s))
  return [
    messages.PriorRecipe(messages.PriorSpec(f'prior{i}', options), Sleeper)
    for i in range(count)
  ]


def request(step: int) -> messages.ScoreRequest:
  """Returns what every fake is asked in a step."""
  rng = np.random.default_rng(step)
  shape = (NUM_VIEWS, RESOLUTION, RESOLUTION, 3)
  return messages.ScoreRequest(
    step=step,
    images=rng.uniform(size=shape).astype(np.float32),
    terms=(messages.Term(('a man',) * NUM_VIEWS, 'a man', 1.0, 8.0),),
    noise_levels=np.full(NUM_VIEWS, 0.5, np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=1e-3,
  )


class Setting:
  """An executor with some fakes, and the steps that it has taken."""

  def __init__(self, kind: str, count: int, running: executor_lib.Executor):
    self.kind = kind
    self.count = count
    self.seconds: list[float] = []
    self._running = running
    self._step = 0
    running.wait_until_ready()

  def take(self, steps: int, learner_s: float) -> None:
    """Takes steps, and notes how long each took."""
    for _ in range(steps):
      start = time.perf_counter()
      asked = request(self._step)
      requests = {f'prior{i}': asked for i in range(self.count)}
      answers = self._running.submit(requests).result()
      np.sum([one.cotangent for one in answers.values()], axis=0)
      time.sleep(learner_s)
      self.seconds.append(time.perf_counter() - start)
      self._step += 1
      if self._step % 10 == 0:
        self._running.save_proxies()


def measure_fakes() -> list[dict[str, Any]]:
  """Returns a row per setting."""
  with contextlib.ExitStack() as stack:
    # One Ray for all of them, with room for all priors at a time.
    (spec,) = [recipe.spec for recipe in sleepers(1, FLAGS.service_s)]
    room = ray_executor.actor_options(spec) | {'num_cpus': sum(NUM_PRIORS)}
    stack.callback(cluster_lib.Cluster(None, {'all': room}).close)
    settings = []
    # One inline prior alone: several would answer one after the other.
    makers: list[tuple[str, int, Callable[..., Any]]] = [
      ('inline', 1, executor_lib.InlineExecutor)
    ]
    makers += [('ray', n, ray_executor.RayExecutor) for n in NUM_PRIORS[::-1]]
    for kind, count, make in makers:
      running = stack.enter_context(make(sleepers(count, FLAGS.service_s)))
      settings.append(Setting(kind, count, running))
    for setting in settings:
      setting.take(3, FLAGS.learner_s)  # Of which nothing is kept.
      setting.seconds.clear()
    for _ in range(FLAGS.rounds):
      for setting in settings:
        setting.take(FLAGS.steps, FLAGS.learner_s)
  ideal = FLAGS.service_s + FLAGS.learner_s
  (one,) = (s for s in settings if (s.kind, s.count) == ('ray', 1))
  unit = statistics.median(one.seconds)
  return [
    {
      'executor': setting.kind,
      'priors': setting.count,
      'step_s': statistics.median(setting.seconds),
      'tenth_s': float(np.quantile(setting.seconds, 0.1)),
      'ninetieth_s': float(np.quantile(setting.seconds, 0.9)),
      'over_one_prior': statistics.median(setting.seconds) / unit,
      'over_ideal': statistics.median(setting.seconds) / ideal,
    }
    for setting in sorted(settings, key=lambda s: (s.kind, s.count))
  ]


class Clocked:
  """A prior that notes when it began and ended; all clocks are the machine's.

  Attributes:
    prior: the prior itself, whose other methods are called as they are.
  """

  def __init__(self, spec: messages.PriorSpec, build: Callable[..., Any]):
    self.prior = build(spec)
    self._fitted = 0.0

  def __getattr__(self, name: str) -> Any:
    return getattr(self.prior, name)

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    """Answers; `began`, `ended` and `fitted` are moments of this prior."""
    began = time.time()
    answer = self.prior.score(request)
    moments = {'began': began, 'ended': time.time(), 'fitted': self._fitted}
    return dataclasses.replace(answer, metrics={**answer.metrics, **moments})

  def fit(self) -> Mapping[str, float]:
    """Fits the proxy; notes when that was over."""
    report = self.prior.fit()
    self._fitted = time.time()
    return report


def clocked(recipe: messages.PriorRecipe) -> messages.PriorRecipe:
  """Returns the recipe of the same prior with a clock."""
  build = functools.partial(Clocked, build=recipe.build)
  return dataclasses.replace(recipe, build=build)


class Stopwatch:
  """An executor that notes what its answers were waited for.

  Attributes:
    waits: of each step, by name, seconds: `prior` computed the answer that came
      last, `fit` of that prior was not over before, and the rest is `ray`.
  """

  def __init__(self, running: executor_lib.Executor):
    self._running = running
    self.waits: list[dict[str, float]] = []

  def __getattr__(self, name: str) -> Any:
    return getattr(self._running, name)

  def submit(
    self, requests: Mapping[str, messages.ScoreRequest]
  ) -> 'Stopwatch._Waiting':
    """Sends requests on."""
    sent = time.time()
    return Stopwatch._Waiting(self, self._running.submit(requests), sent)

  class _Waiting:
    def __init__(
      self, watch: 'Stopwatch', pending: executor_lib.Pending, sent: float
    ):
      self._watch, self._pending, self._sent = watch, pending, sent

    def result(self) -> dict[str, messages.ScoreGradient]:
      """Returns the answers; notes how long they were waited for."""
      answers = self._pending.result()
      waited = time.time() - self._sent
      moments = [answer.metrics for answer in answers.values()]
      last = max(moments, key=lambda one: one['ended'])
      prior = last['ended'] - last['began']
      fit = max(last['fitted'] - self._sent, 0.0)
      self._watch.waits.append(
        {'prior': prior, 'fit': fit, 'ray': waited - prior - fit}
      )
      return {name: self._without(answer) for name, answer in answers.items()}

    def _without(self, answer: messages.ScoreGradient) -> Any:
      """Returns an answer as the prior gave it."""
      kept = {
        name: value
        for name, value in answer.metrics.items()
        if name not in ('began', 'ended', 'fitted')
      }
      return dataclasses.replace(answer, metrics=kept)


def measure_embedded() -> list[dict[str, Any]]:
  """Returns one row: the shipped priors in actors."""
  watches: list[Stopwatch] = []

  def make(recipes: Sequence[messages.PriorRecipe]) -> Stopwatch:
    running = ray_executor.RayExecutor([clocked(one) for one in recipes])
    watches.append(Stopwatch(running))
    return watches[-1]

  num_steps = FLAGS.steps * FLAGS.rounds + 3
  config = mmdist.RunConfig(num_steps=num_steps)
  config.results.preview_every = 0
  config.results.judge = ''
  with tempfile.TemporaryDirectory() as folder:
    run = mmdist.optimize(
      'a portrait of a happy man with green skin and a red hat',
      folder,
      config=config,
      executor=make,
    )
    steps = [row['step_seconds'] for row in run.metrics][3:]
  waits = watches[-1].waits[-len(steps) :]
  step = statistics.median(steps)
  row = {
    f'{name}_s': statistics.median(wait[name] for wait in waits)
    for name in waits[0]
  }
  ninetieth = float(np.quantile([wait['ray'] for wait in waits], 0.9))
  return [
    {
      'executor': 'ray',
      'priors': 'shipped',
      'step_s': step,
      **row,
      'ray_ninetieth_s': ninetieth,
      'ray_share': row['ray_s'] / step,
    }
  ]


def main(_: Sequence[str]) -> None:
  rows = measure_embedded() if FLAGS.embedded else measure_fakes()
  rows_lib.show(rows, FLAGS.json)


if __name__ == '__main__':
  app.run(main)
