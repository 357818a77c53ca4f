"""Which process an actor lives in, and how it is ended for certain."""

import dataclasses
import logging
import os
import pathlib
import signal

import ray
from ray.util import scheduling_strategies

_KILL_WITHIN_S = 30.0


@dataclasses.dataclass(frozen=True)
class ProcessId:
  """Who answers: what is needed to end a process that no longer does.

  Attributes:
    pid: of the process.
    node: Ray's id of its machine.
  """

  pid: int
  node: str


def end_process(process: ProcessId) -> None:
  """Kills the process of an actor, wherever it is; harmless if it is gone.

  Ray itself asks a process to end, and a stopped one does not hear that.
  """
  if process.node == ray.get_runtime_context().get_node_id():
    _kill(process.pid)
    return
  # On another machine, a task of Ray that runs there does it. It reserves no
  # CPU: the actors may have taken them all, and it would wait for ever.
  there = scheduling_strategies.NodeAffinitySchedulingStrategy(
    process.node, soft=False
  )
  kill = ray.remote(num_cpus=0, max_retries=0)(_kill)
  try:
    ray.get(
      kill.options(scheduling_strategy=there).remote(process.pid),
      timeout=_KILL_WITHIN_S,
    )
  except ray.exceptions.RayError as error:  # The machine is gone as well.
    logging.warning('process %d is out of reach: %s', process.pid, error)


def _kill(pid: int) -> None:
  """Kills one of Ray's processes; a number in other use now is left alone."""
  try:
    # Ray names its worker processes 'ray::...'. The system may have given the
    # number of a process that is gone to another program.
    command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    if command.startswith(b'ray::'):
      os.kill(pid, signal.SIGKILL)
  # It is gone; or its number belongs to somebody else's process of Ray now.
  except (FileNotFoundError, ProcessLookupError, PermissionError):
    pass
