"""What priors need of the memory of devices, and whether it is there.

It imports no Ray: processes that only estimate are not to wait for it.
"""

from collections.abc import Callable, Sequence
import dataclasses

from mmdist.core import errors


@dataclasses.dataclass(frozen=True)
class Share:
  """What the priors of one process need of one device.

  Attributes:
    machine: its name.
    device: 'machine' for the memory of its CPU; 'GPU' and its name.
    priors: their names.
    needed: bytes of all of them.
    free: bytes that are there before they load.
  """

  machine: str
  device: str
  priors: Sequence[str]
  needed: int
  free: int


Look = Callable[[], Sequence[Share]]


def check(shares: Sequence[Share]) -> None:
  """Checks that each device has room for all that share it.

  Raises:
    UserError: in one line, which priors do not fit where.
  """
  by_device: dict[tuple[str, str], list[Share]] = {}
  for share in shares:
    by_device.setdefault((share.machine, share.device), []).append(share)
  for (machine, device), same in by_device.items():
    needed = sum(share.needed for share in same)
    free = min(share.free for share in same)
    if needed <= free:
      continue
    priors = sorted(name for share in same for name in share.priors)
    shown = ', '.join(priors[:4]) + ' and others' * (len(priors) > 4)
    raise errors.UserError(
      f'on machine {machine} the priors {shown} need about '
      f'{needed / 2**30:.1f} GiB and this {device} has {free / 2**30:.1f} GiB '
      'free; take a smaller dtype, more of a GPU for each (num_gpus), or other '
      'machines (node_labels, resources).'
    )
