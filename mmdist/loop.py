"""READ FIRST: the one loop where renders, scores and updates meet.

Each step renders V views, asks every prior how it would change them, and pulls
the sum of the answers through one render. So any number of priors and concepts
costs the learner one render and one backward pass (method.md section 1).

Who does what:
  learner      renders and moves the 3D representation (learner/)
  objective    which prior is asked for which text, weighted (objectives/)
  executor     runs the priors, here or in Ray actors (distribution/)
  checkpoints  learner and proxies of one step (checkpointing.py)
  rejections   steps left out, for numbers that are not finite (rejecting.py)
  stop         signals: save, then end (stopping.py)
  report       progress, metrics, a preview (reporting.py)
"""

from collections.abc import Mapping
import os

from mmdist.config import schema
from mmdist.core import messages
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import faults
from mmdist.learner import distill
from mmdist.learner import optimizer as optimizer_lib
from mmdist.objectives import concept
from mmdist.objectives import ledger
from mmdist.objectives import score_requests
from mmdist.run import checkpointing
from mmdist.run import rejecting
from mmdist.run import reporting
from mmdist.run import snapshots
from mmdist.run import stopping


def optimize(
  run: schema.RunConfig,
  workdir: str | os.PathLike,
  executor: executor_lib.Executor,
  representation,
  params,
  *,
  stop: stopping.Stopper | None = None,
  weights: Mapping | None = None,
) -> distill.TrainState:
  """Optimises a 3D representation, from its last checkpoint if it has one.

  Args:
    run: the checked configuration; every random choice follows from its seed.
    workdir: the run's folder, claimed by `workdir.claim`.
    executor: runs the priors that `run` asks.
    representation: `init` and `render`, see `mmdist.nerf.field`.
    params: where a new run starts.
    stop: hears signals; None hears none.
    weights: sha256 of the priors' weights, for the checkpoints.

  Returns:
    The state after `run.num_steps` steps, never more; or, if it was asked to
    stop, the one that was saved.

  Raises:
    FloatingPointError, scores.NonFiniteAnswer, faults.PriorNotFinite: numbers
      that are not finite, by step and place (O23), more than `run.faults`
      puts up with.
    faults.DistributionError: a prior failed, or was lost too often; what was
      done before is saved.
  """
  objective = concept.objective_from_config(run)
  learner = distill.make_learner(
    representation, run, with_normals='normal' in objective.channels
  )
  stop = stop or stopping.Stopper()
  with (
    checkpointing.CheckpointStore(workdir, run, weights) as checkpoints,
    reporting.Reporter(workdir, run, representation) as report,
  ):
    # Compiles while the priors load, where they have processes of their own.
    learner.warm_up(params)
    state = checkpoints.restore_or_init(learner.init(params), executor)
    rejections = rejecting.Rejections(run.faults)
    # What a prior that is lost for good, or a step left out, goes back to.
    safe = snapshots.Snapshot(state, executor.save_proxies())
    report.begin(safe.step)
    try:
      while int(state.step) < run.num_steps and not stop.asked:
        try:
          if rejections.has(int(state.step)):
            state, metrics = learner.skip(state), {'rejected': 1.0}
          else:
            state, metrics = _take_step(
              run, objective, learner, executor, state
            )
          step = int(state.step)
          report.step(step - 1, state.params, metrics)
          if checkpoints.is_due(step) or _is_snapshot_due(run, step):
            safe = snapshots.Snapshot(state, executor.save_proxies())
        except rejecting.NOT_FINITE as error:
          rejections.reject(error, int(state.step))
          executor.restore_proxies(safe.proxies)
          state = safe.state
          report.begin(safe.step)
          continue
        if checkpoints.is_due(step):
          checkpoints.save(safe)
        report.tell_safe(checkpoints.last_safe_step())
      if stop.asked:
        safe = snapshots.Snapshot(state, executor.save_proxies())
    except stopping.Overdue:
      state = safe.state
    except faults.PriorLost:
      checkpoints.save(safe)
      raise
    if stop.asked:
      checkpoints.save(safe)
  return state


def _is_snapshot_due(run: schema.RunConfig, step: int) -> bool:
  return step % run.checkpoints.snapshot_every == 0


def _take_step(
  run: schema.RunConfig,
  objective: concept.ComposedObjective,
  learner: distill.Learner,
  executor: executor_lib.Executor,
  state: distill.TrainState,
) -> tuple[distill.TrainState, dict[str, float]]:
  """Renders, asks every prior, and pulls the sum of the answers back."""
  step = int(state.step)
  batch = distill.sample_batch(run.views, run.seed, step)
  renders = learner.render_views(state, batch)
  # Each step but a rejected one fits each proxy once (O12).
  proxy_step = step - int(state.rejected)
  requests = requests_for(objective, run, batch, renders, proxy_step)
  answers = executor.submit(requests).result()
  pull = score_requests.sum_cotangents(answers)
  state, stats = learner.apply_cotangents(state, batch, pull)
  pulls = ledger.step_metrics(answers, executor.fit_metrics())
  return state, stats | pulls


def requests_for(
  objective: concept.ComposedObjective,
  run: schema.RunConfig,
  batch: distill.ViewBatch,
  renders: distill.ViewRenders,
  proxy_step: int,
) -> dict[str, messages.ScoreRequest]:
  """Returns what each prior is asked about one batch of renders."""
  words = (
    batch.views.words if run.views.use_view_words else ('',) * len(batch.views)
  )
  return score_requests.requests_for(
    objective,
    {'rgb': renders.rgb, 'normal': renders.normals},
    words,
    step=batch.step,
    seed=run.seed,
    num_steps=run.num_steps,
    proxy_step=proxy_step,
    proxy_learning_rate=optimizer_lib.proxy_learning_rate_at(
      run.learner, run.num_steps, batch.step
    ),
    noise=run.noise,
    mode=run.mode,
  )
