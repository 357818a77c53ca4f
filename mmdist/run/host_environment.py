"""Which host of several this process is, and how it joins the others.

Nothing here imports JAX before a host joins.
"""

from collections.abc import Mapping
import importlib.metadata
import os
import platform
import socket
from typing import TYPE_CHECKING, Any

from mmdist.core import errors
from mmdist.core import source_hash

if TYPE_CHECKING:  # Not at run time, because it imports JAX.
  from mmdist.learner import hosts as hosts_lib

# By these, programs are compiled to the same steps in the same order.
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


def rank_here() -> int | None:
  """Returns this process's number among those that were started together.

  None where it was started alone, as far as the environment says.
  """
  if os.environ.get('JAX_COORDINATOR_ADDRESS'):
    rank = os.environ.get('JAX_PROCESS_ID', '')
    if not rank.isdecimal():
      raise errors.UserError(
        f"JAX_PROCESS_ID is '{rank}' beside JAX_COORDINATOR_ADDRESS; expected "
        'the number of this host, from 0.'
      )
    return int(rank)
  for name, value in (
    ('SLURM_PROCID', os.environ.get('SLURM_PROCID', '')),
    ('OMPI_COMM_WORLD_RANK', os.environ.get('OMPI_COMM_WORLD_RANK', '')),
    ('TPU_WORKER_ID', os.environ.get('TPU_WORKER_ID', '')),
  ):
    # A shell inside of a Slurm job has its number too, but is no step.
    is_step = name != 'SLURM_PROCID' or bool(
      os.environ.get('SLURM_STEP_NODELIST')
    )
    if value.isdecimal() and is_step:
      return int(value)
  return None


def check(count: int) -> None:
  """Raises UserError if this process is none of so many hosts.

  Args:
    count: as the configuration has it.
  """
  rank = rank_here()
  if rank is None:
    raise errors.UserError(
      f'num_hosts={count}, and the environment does not say which of them this '
      'is; start the command with srun, or with JAX_COORDINATOR_ADDRESS and '
      'JAX_PROCESS_ID.'
    )
  if rank >= count:
    raise errors.UserError(
      f'num_hosts={count}, and this process is number {rank}, counted from 0; '
      'start as many processes as hosts.'
    )


def join(
  count: int,
  config: Mapping[str, Any],
  given: tuple[str, int, str] | None = None,
) -> 'hosts_lib.Hosts':
  """Joins the other hosts; see `mmdist.learner.host_joining.join`.

  Args:
    count: of the hosts.
    config: which has to be the same on all of them.
    given: HOST:PORT of host 0, the number of this host, and its name; None
      takes them from the environment.
  """
  from mmdist.learner import host_joining

  address: str | None
  rank: int | None
  if given:
    address, rank, name = given
  else:
    address = os.environ.get('JAX_COORDINATOR_ADDRESS')
    name = socket.gethostname()
    # Of Slurm and the others JAX itself finds the address, and the number.
    rank = rank_here() if address else None
  versions = {
    package: importlib.metadata.version(package) for package in _PACKAGES
  }
  facts = {
    'mmdist': source_hash.name_code(),
    'python': platform.python_version(),
    **versions,
    'config': config,
  }
  return host_joining.join(count, facts, name, address, rank)
