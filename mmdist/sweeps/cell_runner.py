"""What runs cells, one after the other, in a process of its own.

The process stays for many cells, because what JAX has compiled for one cell is
used for the next. Which cell is run, and what becomes of one that fails, is
decided by `scheduling.py`.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import pathlib
import time
import traceback
from typing import Any

from mmdist.config import schema
from mmdist.core import errors
from mmdist.distribution import faults
from mmdist.run import locks
from mmdist.run import sessions


@dataclasses.dataclass(frozen=True)
class Task:
  """One attempt at one cell.

  Attributes:
    name: of the cell.
    config: of its run.
    workdir: of its run.
    log: file that what it prints is added to.
    executor: where its priors run, 'ray' or 'inline'.
    actors: sharing key -> handle of an actor that other cells use too.
    learner: what this attempt is called by those actors; never used before.
    code: the sweep's, on a cluster; see `code_shipping.check_same`.
    folder: paths in the configuration are relative to it, if it exists.
    preflight_only: whether it takes one step, of which nothing is kept.
    command: by which the sweep was started, for the cell's report; '' where it
      is not known.
  """

  name: str
  config: schema.RunConfig
  workdir: str
  log: str
  executor: str = 'inline'
  actors: Mapping[tuple, Any] = dataclasses.field(default_factory=dict)
  learner: str = ''
  code: str = ''
  folder: str = ''
  preflight_only: bool = False
  command: str = ''


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How an attempt ended.

  Attributes:
    kind: 'finished'; 'stopped', saved before its last step; or 'failed'.
    error: one line about what failed.
    may_pass: whether another attempt may end otherwise.
    seconds: that it took.
  """

  kind: str
  error: str = ''
  may_pass: bool = False
  seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a runner is.

  Attributes:
    cell: name of the one that runs; '' for none.
    step: steps behind it; 0 until this attempt made one.
    restored: how many of them the attempt found in the cell's checkpoint.
  """

  cell: str = ''
  step: int = 0
  restored: int = 0


class CellRunner:
  """Runs cells in this process.

  `progress` and `stop` may be called from another thread while `run` runs.
  """

  def __init__(self) -> None:
    self._is_stopping = False
    self._progress = Progress()

  def run(self, task: Task) -> Outcome:
    """Runs or resumes a cell; never raises what its run raises."""
    start = time.monotonic()
    self._progress = Progress(task.name)
    try:
      with (
        _logging_to(task.log),
        _inside(task.folder),
        sessions.commanded(task.command),
      ):
        outcome = self._run(task)
    finally:
      self._progress = Progress()
    return dataclasses.replace(outcome, seconds=time.monotonic() - start)

  def _run(self, task: Task) -> Outcome:
    # Here, because it imports JAX, which has to find the cores set.
    from mmdist.api import executors
    from mmdist.api import optimization

    executor: executors.ExecutorLike = task.executor
    if task.executor == 'ray':
      executor = executors.SharedActors(task.actors, task.learner, task.code)
    try:
      if task.preflight_only:
        optimization.preflight(
          None, task.workdir, config=task.config, executor=executor
        )
        return Outcome('finished')
      run = optimization.optimize(
        None,
        task.workdir,
        config=task.config,
        executor=executor,
        on_step=self._on_step,
      )
    except (errors.UserError, OSError) as error:
      traceback.print_exc()
      # Another attempt may pass where a prior was lost, or where the folder is
      # in use by a process that is about to end. It would fail again where a
      # setting is wrong.
      lost = isinstance(error, faults.DistributionError | OSError | locks.InUse)
      return Outcome('failed', _one_line(error), may_pass=lost)
    except Exception as error:  # noqa: BLE001 - the other cells go on.
      traceback.print_exc()
      return Outcome('failed', faults.describe(error), may_pass=True)
    return Outcome('finished' if run.is_finished else 'stopped')

  def _on_step(self, step: Any) -> None:
    before = self._progress
    restored = before.restored if before.step else step.number - 1
    self._progress = Progress(before.cell, step.number, restored)
    if self._is_stopping:
      step.stop()

  def progress(self) -> Progress:
    """Returns where it is; may be called while `run` runs."""
    return self._progress

  def stop(self) -> None:
    """Saves and ends the running cell after its step, and so any later one."""
    self._is_stopping = True


def _one_line(error: BaseException) -> str:
  return faults.one_line(str(error)) or type(error).__name__


def _inside(folder: str) -> contextlib.AbstractContextManager[None]:
  """Makes relative paths mean what they mean where the sweep was started."""
  # A process of Ray starts in a folder of Ray's own.
  if folder and pathlib.Path(folder).is_dir():
    return contextlib.chdir(folder)
  return contextlib.nullcontext()


@contextlib.contextmanager
def _logging_to(path: str) -> Iterator[None]:
  """Sends what Python prints to the end of a file instead."""
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with (
    open(path, 'a', encoding='utf-8', buffering=1) as log,
    contextlib.redirect_stdout(log),
    contextlib.redirect_stderr(log),
  ):
    yield
