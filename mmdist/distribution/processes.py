"""Which process an actor lives in, and how it is ended for certain."""

import dataclasses
import logging
import os
import pathlib
import signal
import time
from typing import Any

import ray
from ray.util import scheduling_strategies

_KILL_WITHIN_S = 30.0
_POLL_S = 0.02


@dataclasses.dataclass(frozen=True)
class ProcessId:
  """Who answers: what is needed to end a process that no longer does.

  Attributes:
    pid: of the process.
    node: Ray's id of its machine.
  """

  pid: int
  node: str


def end_process(process: ProcessId, grace_s: float = 0.0) -> None:
  """Kills the process of an actor, wherever it is; harmless if it is gone.

  Ray itself asks a process to end, and a stopped one does not hear that.

  Args:
    process: of the actor.
    grace_s: seconds in which it may end by itself, if it was asked to.
  """
  if process.node == ray.get_runtime_context().get_node_id():
    _kill(process.pid, grace_s)
    return
  # On another machine, a task of Ray that runs there does it. It reserves no
  # CPU: the actors may have taken them all, and it would wait for ever.
  there = scheduling_strategies.NodeAffinitySchedulingStrategy(
    process.node, soft=False
  )
  kill: Any = ray.remote(num_cpus=0, max_retries=0)(_kill)
  try:
    ray.get(
      kill.options(scheduling_strategy=there).remote(process.pid, grace_s),
      timeout=_KILL_WITHIN_S,
    )
  except ray.exceptions.RayError as error:  # The machine is gone as well.
    logging.warning('process %d is out of reach: %s', process.pid, error)


def _kill(pid: int, grace_s: float = 0.0) -> None:
  """Kills one of Ray's processes; a number in other use now is left alone."""
  until = time.monotonic() + grace_s
  try:
    while _is_rays(pid) and time.monotonic() < until:
      time.sleep(_POLL_S)
    if _is_rays(pid):
      os.kill(pid, signal.SIGKILL)
  # It is gone; or its number belongs to somebody else's process of Ray now.
  except (FileNotFoundError, ProcessLookupError, PermissionError):
    pass


def _is_rays(pid: int) -> bool:
  # Ray names its worker processes 'ray::...'. The system may have given the
  # number of a process that is gone to another program.
  command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
  return command.startswith(b'ray::')
