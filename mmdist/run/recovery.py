"""What a run goes back to: snapshots, rejected steps, signals and saving.

The loop in `mmdist.loop` says what a step is; everything that may go wrong
around a step is decided here, so that the loop reads in one screen.

A snapshot is the learner and every proxy after one and the same step, kept in
memory. The newest one is where a run continues after a step is rejected, and
what is saved when a prior is lost for good or a step never ends.
"""

from collections.abc import Callable
import logging
from typing import Any

from mmdist.config import schema
from mmdist.core import errors
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import faults
from mmdist.learner import distill
from mmdist.run import checkpointing
from mmdist.run import rejecting
from mmdist.run import snapshots
from mmdist.run import stopping

Metrics = dict[str, float]
TakeStep = Callable[[distill.TrainState], tuple[distill.TrainState, Metrics]]


class Recovery:
  """Takes snapshots, rejects steps and saves, around the loop of one run.

  A context manager. If the run was asked to stop, or if it raised, leaving the
  block saves the current step. Where that is impossible, as after the loss of a
  prior, it saves the newest snapshot.

  Attributes:
    state: the learner's state that the run has reached; once the block is left,
      the last one, or the one that was saved, as this process can read it.
  """

  def __init__(
    self,
    config: schema.RunConfig,
    learner: distill.Learner,
    executor: executor_lib.Executor,
    checkpoints: checkpointing.CheckpointStore,
    stop: stopping.Stopper,
    state: distill.TrainState,
  ):
    """Takes the first snapshot.

    Args:
      config: of the run.
      learner: skips the steps that were rejected.
      executor: holds the proxies.
      checkpoints: where steps are saved.
      stop: whether somebody asked the run to stop.
      state: where the run begins or continues.
    """
    self.state = state
    self._config = config
    self._learner = learner
    self._executor = executor
    self._checkpoints = checkpoints
    self._stop = stop
    self._rejections = rejecting.Rejections(config.faults)
    self._safe = self._snapshot(state)
    checkpoints.warn_of_dtypes(self._safe.proxies)

  def should_continue(self, state: distill.TrainState) -> bool:
    """Returns whether there is a step to take, and nobody asked to stop."""
    return int(state.step) < self._config.num_steps and not self._stop.asked

  def attempt(
    self, take_step: TakeStep, state: distill.TrainState
  ) -> tuple[distill.TrainState, Metrics]:
    """Takes a step; if its numbers are not finite, goes back and repeats.

    Such a step is rejected: learner and proxies go back to the newest snapshot,
    and the steps since are taken again without it. The result is then an
    earlier step than the one that was asked for.

    Args:
      take_step: maps a state to the state after its next step, and metrics.
      state: the state before the step.

    Raises:
      errors.NotFinite, faults.PriorNotFinite: rejecting is switched off, or
        there were too many in a row.
    """
    while True:
      try:
        if self._rejections.has(int(state.step)):
          self.state, metrics = self._learner.skip(state), {'rejected': 1.0}
        else:
          self.state, metrics = take_step(state)
        return self.state, metrics
      except rejecting.NOT_FINITE as error:
        state = self._go_back(error, int(state.step))

  def keep(self, state: distill.TrainState) -> distill.TrainState:
    """Takes a snapshot and saves, where that is due after this step.

    A snapshot waits for the fits of the last step. If one of them is not
    finite, that step is rejected here.

    Returns:
      The state to go on from: the given one, or the newest snapshot's.
    """
    step = int(state.step)
    try:
      if self._checkpoints.is_due(step) or self._is_snapshot_due(step):
        self._safe = self._snapshot(state)
    except rejecting.NOT_FINITE as error:
      return self._go_back(error, step)
    if self._checkpoints.is_due(step):
      self._checkpoints.save(self._safe)
    return state

  def _is_snapshot_due(self, step: int) -> bool:
    return step % self._config.checkpoints.snapshot_every == 0

  def _go_back(self, error: Exception, step: int) -> distill.TrainState:
    """Rejects a step; returns the state of the newest snapshot."""
    self._rejections.reject(error, step)
    self._executor.restore_proxies(self._safe.proxies)
    self.state = self._learner.place(self._safe.state)
    return self.state

  def _snapshot(self, state: distill.TrainState) -> snapshots.Snapshot:
    return snapshots.Snapshot(
      self._learner.collect(state), self._executor.save_proxies()
    )

  def __enter__(self) -> 'Recovery':
    self._stop.has_begun = True
    return self

  def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> bool:
    if error is None:
      if self._stop.asked:
        snapshot = self._current() or self._safe
        self.state = snapshot.state
        self._checkpoints.save(snapshot)
      else:
        self.state = self._learner.collect(self.state)
      return False
    if isinstance(error, stopping.Overdue):
      # The running step took too long after a signal: it is given up.
      self.state = self._safe.state
      self._checkpoints.save(self._safe)
      return True
    if isinstance(error, Exception):
      self._save_before(error)
    return False

  def _save_before(self, error: Exception) -> None:
    """Saves before an error is passed on.

    After an error of an executor its proxies may not match the learner, and
    after the loss of a host nothing can be computed, so the last snapshot is
    saved; after any other error, the current step.
    """
    broken = isinstance(
      error,
      (faults.DistributionError, errors.NotFinite, errors.HostLost, OSError),
    )
    snapshot = None if broken else self._current()
    try:
      self._checkpoints.save(snapshot or self._safe)
    except Exception as second:  # noqa: BLE001 - the first error is the news.
      logging.warning('the last step could not be saved: %s', second)

  def _current(self) -> snapshots.Snapshot | None:
    """Returns a snapshot of this moment; None if there can be none."""
    try:
      snapshot = self._snapshot(self.state)
      snapshots.check_complete(snapshot)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is none.
      logging.warning(
        'the current step cannot be saved, so the last snapshot is: %s',
        faults.describe(error),
      )
      return None
    return snapshot
