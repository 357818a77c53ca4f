"""The learner's place in a cluster: GPUs that Ray gives to nobody else.

The learner is no actor, so Ray does not know which GPUs it computes on. An
actor that does nothing reserves them for as long as the run lasts.
"""

from collections.abc import Sequence
import os
from typing import Any

import ray

from mmdist.distribution import faults
from mmdist.distribution import gpu_plan
from mmdist.distribution import placement


class _Seat:
  """Reserves, and says what it has reserved."""

  def gpus(self) -> list[str]:
    return os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')


def options(gpus: Sequence[str]) -> dict[str, Any] | None:
  """Returns Ray's options of a seat; None where Ray gives out no GPU here.

  Args:
    gpus: names of those that the learner computes on.
  """
  if not gpus:
    return None
  here = placement.this_machine()
  has_gpus = any(
    node['Alive'] and here in node['Resources'] and node['Resources'].get('GPU')
    for node in ray.nodes()
  )
  if not has_gpus:
    return None
  return {'num_cpus': 0, 'num_gpus': len(gpus), 'resources': {here: 0.001}}


def take(placed: dict[str, Any], gpus: Sequence[str]) -> Any:
  """Takes a seat that was reserved; returns its actor.

  Args:
    placed: Ray's options, with the seat's place in the reservation.
    gpus: names of those that the learner computes on.

  Raises:
    ClusterUnavailable: Ray gave it others, and those to somebody else.
  """
  seat: Any = ray.remote(_Seat).options(**placed).remote()
  given = ray.get(seat.gpus.remote())
  if set(given) != set(gpus):
    ray.kill(seat)
    raise faults.ClusterUnavailable(
      f'Ray has reserved GPU {", ".join(given)} of this machine for the '
      f'learner, which computes on GPU {", ".join(gpus)}; set '
      f'{gpu_plan.VISIBLE}={",".join(given)}, or start Ray on this machine '
      'with --num-gpus=0.'
    )
  return seat
