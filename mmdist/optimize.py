"""READ FIRST: the one loop where renders, scores and updates meet.

Each step renders V views, asks every prior how it would change them, and pulls
the sum of the answers through one render. So any number of priors and concepts
costs the learner one render and one backward pass (method.md section 1).

Who does what:
  learner      renders and moves the 3D representation (learner/)
  objective    which prior is asked for which text, weighted (objectives/)
  executor     runs the priors, here or in Ray actors (distribution/)
  checkpoints  learner and proxies of one step (checkpointing.py)
  report       progress, metrics, a preview (reporting.py)
"""

import os

from mmdist import checkpointing
from mmdist import reporting
from mmdist.core import config as config_lib
from mmdist.core import messages
from mmdist.distribution import executor as executor_lib
from mmdist.learner import distill
from mmdist.learner import optimizer as optimizer_lib
from mmdist.objectives import concept
from mmdist.objectives import ledger
from mmdist.objectives import scores


def optimize(
  run: config_lib.RunConfig,
  workdir: str | os.PathLike,
  executor: executor_lib.Executor,
  representation,
  params,
) -> distill.TrainState:
  """Optimises a 3D representation, from its last checkpoint if it has one.

  Args:
    run: the checked configuration; every random choice follows from its seed.
    workdir: the run's folder, claimed by `workdir.claim`.
    executor: runs the priors that `run` asks.
    representation: `init` and `render`, see `mmdist.nerf.field`.
    params: where a new run starts.

  Returns:
    The state after `run.num_steps` steps, never more.

  Raises:
    FloatingPointError, scores.NonFiniteAnswer: numbers that are not finite,
      by step and place (O23).
    faults.DistributionError: a prior failed or was lost.
  """
  objective = concept.objective_from_config(run)
  learner = distill.make_learner(
    representation, run, with_normals='normal' in objective.channels
  )
  with (
    checkpointing.CheckpointStore(workdir, run) as checkpoints,
    reporting.Reporter(workdir, run, representation) as report,
  ):
    # Compiles while the priors load, where they have processes of their own.
    learner.warm_up(params)
    state = checkpoints.restore_or_init(learner.init(params), executor)
    report.begin(int(state.step))
    for step in range(int(state.step), run.num_steps):
      batch = distill.sample_batch(run.views, run.seed, step)
      renders = learner.render_views(state, batch)
      requests = requests_for(objective, run, batch, renders)
      answers = executor.submit(requests).result()
      pull = scores.sum_cotangents(answers)
      state, stats = learner.apply_cotangents(state, batch, pull)
      pulls = ledger.step_metrics(answers, executor.fit_metrics())
      report.step(step, state.params, stats | pulls)
      checkpoints.maybe_save(state, executor)
  return state


def requests_for(
  objective: concept.ComposedObjective,
  run: config_lib.RunConfig,
  batch: distill.ViewBatch,
  renders: distill.ViewRenders,
) -> dict[str, messages.ScoreRequest]:
  """Returns what each prior is asked about one batch of renders."""
  words = (
    batch.views.words if run.views.use_view_words else ('',) * len(batch.views)
  )
  return scores.requests_for(
    objective,
    {'rgb': renders.rgb, 'normal': renders.normals},
    words,
    step=batch.step,
    seed=run.seed,
    num_steps=run.num_steps,
    proxy_step=batch.step,  # Each step fits each proxy once (O12).
    proxy_learning_rate=optimizer_lib.proxy_learning_rate_at(
      run.learner, run.num_steps, batch.step
    ),
    noise=run.noise,
    mode=run.mode,
    prompt_prefix=run.views.prompt_prefix,
  )
