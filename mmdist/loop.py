"""READ FIRST: the one loop where renders, scores and updates meet.

Each step renders V views, asks every prior how it would change them, and takes
the sum of the answers back through one render. So any number of priors and
concepts costs the learner one render and one backward pass (docs/method.md,
section 1). With `views.micro_batches` a step goes through in parts: priors
score one while the learner renders the next or takes back the one before.

Who does what:
  learner      renders and moves the 3D representation (learner/)
  objective    which prior is asked for which text, weighted (objectives/)
  executor     runs the priors, here or in Ray actors (distribution/)
  recovery     snapshots, rejected steps, signals, saving (run/recovery.py)
  checkpoints  learner and proxies of one step on disk (run/checkpointing.py)
  report       progress, metrics, a preview (run/reporting.py)
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import itertools
import os

import numpy as np

from mmdist.config import schema
from mmdist.core import messages
from mmdist.core import representation as representation_lib
from mmdist.distribution import executor as executor_lib
from mmdist.learner import colors
from mmdist.learner import distill
from mmdist.learner import hosts as hosts_lib
from mmdist.learner import mirror
from mmdist.learner import optimizer as optimizer_lib
from mmdist.learner import step_parts
from mmdist.objectives import binding
from mmdist.objectives import ledger
from mmdist.objectives import partial_answers
from mmdist.objectives import score_requests
from mmdist.run import callbacks
from mmdist.run import checkpointing
from mmdist.run import recovery as recovery_lib
from mmdist.run import reporting
from mmdist.run import stopping


def optimize(
  config: schema.RunConfig,
  workdir: str | os.PathLike,
  executor: executor_lib.Executor,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  *,
  stop: stopping.Stopper | None = None,
  weights: Mapping | None = None,
  learner: distill.Learner | None = None,
  on_step: Callable[[callbacks.Step], None] | None = None,
) -> distill.TrainState:
  """Optimises a 3D representation, from the run's last checkpoint if any.

  Args:
    config: the checked configuration; every random choice follows from its
      seed.
    workdir: the run's folder, claimed by `workdir.claim`.
    executor: runs the priors that `config` asks.
    representation: what is optimised; see `mmdist.core.representation`.
    params: where a new run starts.
    stop: hears signals; None hears none.
    weights: sha256 of the priors' weights, for the checkpoints.
    learner: what `make_learner` returned; None makes one.
    on_step: called after every step; if it raises, the run is saved first.

  Returns:
    The state after `config.num_steps` steps, never more; or, if the run was
    asked to stop, the one that was saved.

  Raises:
    errors.NotFinite: more numbers were not finite than `config.faults`
      tolerates; names step and place.
    faults.DistributionError: a prior failed, or was lost too often; what was
      done before is saved.
    errors.HostLost: a host of the learner is gone; the same.
  """
  objective = binding.bind_config(config)
  learner = learner or make_learner(config, representation)
  stop = stop or stopping.Stopper()
  start = None
  if score_requests.needs_start(objective):
    # Rendered at every step beside what has become of it. Its optimiser is not.
    start = dataclasses.replace(learner.init(params), opt_state=())
  step_of_run = functools.partial(
    take_step, config, objective, learner, executor, start=start
  )
  with (
    checkpointing.CheckpointStore(workdir, config, weights) as checkpoints,
    reporting.Reporter(workdir, config, representation) as report,
  ):
    # Priors that have processes of their own load while this compiles.
    learner.warm_up(params)
    state = learner.place(
      checkpoints.restore_or_init(
        learner.collect(learner.init(params)), executor
      )
    )
    recovery = recovery_lib.Recovery(
      config, learner, executor, checkpoints, stop, state
    )
    report.begin(int(state.step))
    with recovery:
      while recovery.should_continue(state):
        state, metrics = recovery.attempt(step_of_run, state)
        step = int(state.step)
        current = learner.params_of(state)
        report.step(step - 1, current, metrics)
        if on_step is not None:
          on_step(
            callbacks.Step(step, metrics, config, current, representation, stop)
          )
        state = recovery.keep(state)
        report.tell_safe(checkpoints.last_safe_step())
  return recovery.state


def make_learner(
  config: schema.RunConfig,
  representation: representation_lib.Representation,
  hosts: hosts_lib.Hosts | None = None,
) -> distill.Learner:
  """Returns the learner of a run; see `optimize`.

  Args:
    config: of the run.
    representation: what is optimised.
    hosts: those that render with this process, which leads them; None: it is
      alone.
  """
  channels = binding.bind_config(config).channels
  return mirror.make_learner(
    representation,
    config,
    with_normals='normal' in channels,
    hosts=hosts,
  )


def take_step(
  config: schema.RunConfig,
  objective: binding.BoundObjective,
  learner: distill.Learner,
  executor: executor_lib.Executor,
  state: distill.TrainState,
  start: distill.TrainState | None = None,
) -> tuple[distill.TrainState, dict[str, float]]:
  """Renders, asks every prior, and takes the sum of the answers back.

  First all parts are rendered and asked, then they are taken back in the same
  order, and the sum of their gradients is one update. So what is computed does
  not depend on when an answer arrives.

  Args:
    config: of the run.
    objective: which prior is asked for which text.
    learner: renders, and takes cotangents back.
    executor: runs the priors.
    state: before the step.
    start: what the run started from, where a prior compares with it.

  Returns:
    The state after it, and the step's metrics.

  Raises:
    As `optimize`.
  """
  step = int(state.step)
  batch = distill.sample_batch(config.views, config.seed, step)
  # Each step but a rejected one fits each proxy once, on the same renders.
  proxy_step = step - int(state.rejected)
  views = (
    score_requests.deal_views(objective, config.views.num_views, step)
    if config.views.deal
    else None
  )
  asked, rendered = [], []
  for part in step_parts.cut(batch, config.views.micro_batches):
    rendered.append(learner.render_views(state, part))
    of_start = None if start is None else learner.render_views(start, part)
    requests = requests_for(
      objective, config, part, rendered[-1], proxy_step, views, of_start
    )
    asked.append((part, requests, executor.submit(requests)))
  answered = []

  def take_back(
    part: distill.ViewBatch,
    requests: Mapping[str, messages.ScoreRequest],
    pending: executor_lib.Pending,
  ) -> step_parts.Pulled:
    answered.append(partial_answers.weigh(pending.result(), requests))
    shown = partial_answers.views_of_part(
      views, part.first_view, len(part.views)
    )
    cotangents = score_requests.sum_cotangents(answered[-1], shown)
    return learner.pull_back(state, part, cotangents)

  # One after the other, each as soon as its answers are there.
  pulled = functools.reduce(learner.add, itertools.starmap(take_back, asked))
  state, stats = learner.update(state, pulled)
  renders = step_parts.join_renders(rendered)
  stats |= colors.measure(renders.rgb, renders.acc, batch.backgrounds)
  stats |= ledger.scheduled_weights(objective, step, config.num_steps)
  return state, stats | ledger.step_metrics(
    partial_answers.join(answered), executor.fit_metrics(), views
  )


def requests_for(
  objective: binding.BoundObjective,
  config: schema.RunConfig,
  batch: distill.ViewBatch,
  renders: distill.ViewRenders,
  proxy_step: int,
  views: Mapping[str, np.ndarray] | None = None,
  of_start: distill.ViewRenders | None = None,
) -> dict[str, messages.ScoreRequest]:
  """Returns what each prior is asked about one batch of renders.

  Args:
    objective: which prior is asked for which text.
    config: of the run.
    batch: the V views of the step, or of a part of it.
    renders: of these views, rgb and normals [V, H, W, 3].
    proxy_step: fits that each proxy has behind it.
    views: prior -> numbers in the step of the views that it is shown; None
      shows all.
    of_start: renders of what the run started from; None where nobody asks.
  """
  words = (
    batch.views.words
    if config.views.use_view_words
    else ('',) * len(batch.views)
  )
  return score_requests.requests_for(
    objective,
    _by_channel(renders),
    words,
    step=batch.step,
    seed=config.seed,
    num_steps=config.num_steps,
    proxy_step=proxy_step,
    proxy_learning_rate=optimizer_lib.proxy_learning_rate_at(
      config.learner, config.num_steps, batch.step
    ),
    noise=config.noise,
    mode=config.mode,
    views=views,
    first_view=batch.first_view,
    num_views=batch.num_views,
    start_images=None if of_start is None else _by_channel(of_start),
  )


def _by_channel(
  renders: distill.ViewRenders,
) -> dict[messages.Channel, np.ndarray]:
  return {'rgb': renders.rgb, 'normal': renders.normals}
