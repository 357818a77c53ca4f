"""How much of a step is hidden behind its slower side: steps in parts.

  python -m experiments.benchmarks.overlap            # five minutes
  python -m experiments.benchmarks.overlap --json

The loop's own step, with a learner and priors that sleep: the learner renders
for a half of its time and takes back for the other, and each prior, in an actor
of its own, answers for a set time per step and then fits. A part of a step
takes its share of both. At best a step takes as long as the learner's work or
the slowest prior's, whichever is longer; `over_best` is the median step over
that. Rounds alternate between all settings.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import statistics
import time
from typing import Any

from absl import app
from absl import flags
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import rows as rows_lib
from mmdist import loop
from mmdist.api import function_prior
from mmdist.config import schema
from mmdist.core import messages
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor
from mmdist.learner import distill
from mmdist.learner import step_parts
from mmdist.objectives import binding

NUM_VIEWS, RESOLUTION = 4, 64
MICRO_BATCHES = (1, 2, 4)

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags of the command; a test imports the rest."""
  flags.DEFINE_integer('steps', 12, 'Steps of each setting and round.')
  flags.DEFINE_integer('rounds', 3, 'Rounds, which alternate between settings.')
  flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')


@dataclasses.dataclass(frozen=True)
class Load:
  """How long each side of a step is busy, in seconds.

  Attributes:
    bound: which side is the slower one.
    learner_s: the learner, half of it with the render.
    score_s: the slowest prior, with all views of a step.
    fit_s: its fit. A second prior takes half as long for both.
  """

  bound: str
  learner_s: float
  score_s: float
  fit_s: float

  @property
  def best_s(self) -> float:
    """The shortest step that there can be."""
    return max(self.learner_s, self.score_s + self.fit_s)


LOADS = (
  Load('learner', 0.8, 0.4, 0.1),
  Load('both', 0.6, 0.45, 0.15),
  Load('prior', 0.3, 0.6, 0.2),
)


class Sleeper(function_prior.FunctionPrior):
  """A prior that answers and fits after a set time."""

  def __init__(self, spec: messages.PriorSpec):
    super().__init__(spec.name, spec.options.channel, self._sleep)
    self._score_s, self._fit_s = map(float, spec.options.directory.split())

  def _sleep(self, request: messages.ScoreRequest) -> np.ndarray:
    share = len(request.images) / request.num_views_of_step
    time.sleep(share * self._score_s)
    return request.images * np.float32(1e-3)

  def fit(self) -> Mapping[str, float]:
    """Sleeps, too."""
    time.sleep(self._fit_s)
    return super().fit()


def sleepers(load: Load) -> list[messages.PriorRecipe]:
  """Returns the recipes of the two priors."""
  return [
    messages.PriorRecipe(
      messages.PriorSpec(
        name,
        messages.PriorOptions(directory=f'{c * load.score_s} {c * load.fit_s}'),
      ),
      Sleeper,
    )
    for name, c in (('quick', 0.5), ('slow', 1.0))
  ]


def make_config(micro_batches: int) -> schema.RunConfig:
  """Returns the configuration of such a step."""
  return schema.RunConfig(
    views=schema.ViewsConfig(
      num_views=NUM_VIEWS, resolution=RESOLUTION, micro_batches=micro_batches
    ),
    priors={name: schema.PriorConfig() for name in ('quick', 'slow')},
  )


def sleeping_learner(load: Load) -> distill.Learner:
  """Returns a learner that takes its time and computes nothing."""

  def sleep(batch: distill.ViewBatch) -> None:
    time.sleep(load.learner_s / 2 * len(batch.views) / NUM_VIEWS)

  def init(params: Any) -> distill.TrainState:
    return distill.TrainState(jnp.int32(0), params, {})

  def render_views(
    state: distill.TrainState, batch: distill.ViewBatch
  ) -> distill.ViewRenders:
    del state
    sleep(batch)
    images = np.full(
      (len(batch.views), RESOLUTION, RESOLUTION, 3), 0.5, np.float32
    )
    return distill.ViewRenders(images, images, images[..., 0])

  def pull_back(
    state: distill.TrainState,
    batch: distill.ViewBatch,
    cotangents: Mapping[str, np.ndarray],
  ) -> step_parts.Pulled:
    del state
    sleep(batch)
    return step_parts.Pulled(batch.step, {}, {}, {}, cotangents)

  def update(
    state: distill.TrainState, pulled: step_parts.Pulled
  ) -> tuple[distill.TrainState, dict[str, float]]:
    del pulled
    return dataclasses.replace(state, step=state.step + 1), {}

  def not_asked(*arguments: Any) -> Any:
    raise NotImplementedError('no step of the loop asks a learner for this')

  return distill.Learner(
    init=init,
    warm_up=not_asked,
    render_views=render_views,
    pull_back=pull_back,
    add=step_parts.add,
    update=update,
    apply_cotangents=not_asked,
    skip=not_asked,
    place=not_asked,
    collect=not_asked,
    params_of=not_asked,
    checked=not_asked,
  )


class Setting:
  """A load at a number of parts, and the steps that it has taken.

  Attributes:
    load: how long each side is busy.
    micro_batches: parts of a step.
    seconds: of each step.
  """

  def __init__(
    self, load: Load, micro_batches: int, running: executor_lib.Executor
  ):
    self.load = load
    self.micro_batches = micro_batches
    self.seconds: list[float] = []
    self._config = make_config(micro_batches)
    self._objective = binding.bind_config(self._config)
    self._learner = sleeping_learner(load)
    self._running = running
    self._state = self._learner.init({})
    running.wait_until_ready()

  def take(self, steps: int) -> None:
    """Takes steps, and notes how long each took.

    The actors are those of all settings of a load, so they go back to this one.
    """
    fits = messages.ProxyState(int(self._state.step), {})
    self._running.restore_proxies(dict.fromkeys(self._config.priors, fits))
    seconds = []
    for _ in range(steps):
      start = time.perf_counter()
      self._state, _ = loop.take_step(
        self._config, self._objective, self._learner, self._running, self._state
      )
      seconds.append(time.perf_counter() - start)
    self.seconds += seconds[1:]  # No fit of a step before was in the first.

  def row(self) -> dict[str, Any]:
    """Returns what the table shows."""
    step = statistics.median(self.seconds)
    return {
      'bound': self.load.bound,
      'learner_s': self.load.learner_s,
      'prior_s': self.load.score_s + self.load.fit_s,
      'micro_batches': self.micro_batches,
      'step_s': step,
      'mean_s': statistics.fmean(self.seconds),
      'tenth_s': float(np.quantile(self.seconds, 0.1)),
      'ninetieth_s': float(np.quantile(self.seconds, 0.9)),
      'over_best': step / self.load.best_s,
    }


def measure(
  loads: Sequence[Load],
  micro_batches: Sequence[int],
  steps: int,
  rounds: int = 1,
) -> list[dict[str, Any]]:
  """Returns a row for each load and number of parts."""
  with contextlib.ExitStack() as stack:
    # One Ray for all of them, with room for all priors at a time.
    spec = sleepers(loads[0])[0].spec
    room = ray_executor.actor_options(spec) | {'num_cpus': 2 * len(loads)}
    stack.callback(cluster_lib.Cluster(None, {'all': room}).close)
    settings = []
    for load in loads:
      running = stack.enter_context(ray_executor.RayExecutor(sleepers(load)))
      settings += [Setting(load, number, running) for number in micro_batches]
    for _ in range(rounds):
      for setting in settings:
        setting.take(steps)
    return [setting.row() for setting in settings]


def main(_: Sequence[str]) -> None:
  rows = measure(LOADS, MICRO_BATCHES, FLAGS.steps, FLAGS.rounds)
  rows_lib.show(rows, FLAGS.json)


if __name__ == '__main__':
  define_flags()
  app.run(main)
