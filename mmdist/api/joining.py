"""The cluster that a command or a program wants to join, before it begins.

An address at which no cluster is has to be told within seconds, and before
anything is written. So this is asked first, and imports nothing that computes.
"""

import os

from mmdist.api import executors
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.distribution import cluster_head
from mmdist.run import many_runs


def executor_of(
  executor: str,
  address: str | None,
  *,
  dashboard: bool = False,
  ship_code: bool = True,
) -> executors.ExecutorLike:
  """Returns the executor that the flags of a command describe.

  Args:
    executor: 'inline' or 'ray'.
    address, dashboard, ship_code: see `executors.RayOptions`.

  Raises:
    UserError: an address is given to priors that would never go there.
  """
  if executor == 'ray':
    return executors.RayOptions(address, dashboard, ship_code)
  if address is not None:
    raise errors.UserError(
      f'--ray_address={address} and --executor={executor} are given, and with '
      'the latter the priors run in this process; expected one of them.'
    )
  return executor


def check(executor: executors.ExecutorLike) -> None:
  """Checks that the cluster of an executor is there and lets this process in.

  Raises:
    ClusterUnavailable, UserError: in one line; see `cluster_head.check`.
  """
  if not isinstance(executor, executors.RayOptions):
    return
  try:
    cluster_head.check_first(executor.address)
  except ModuleNotFoundError as error:
    if error.name != 'ray':
      raise
    # `executors.start` says what to install.


def check_for(
  executor: executors.ExecutorLike,
  workdir: str | os.PathLike,
  num_steps: int,
) -> None:
  """Does what `check` does, unless a run is finished and joins nothing.

  Args:
    executor: of the run.
    workdir: its folder, there or not.
    num_steps: that it is to take.

  Raises:
    ClusterUnavailable, UserError: in one line.
  """
  folder = local_paths.local(workdir)
  if many_runs.state_of(folder, num_steps) != 'finished':
    check(executor)
