"""Where a network lies and in which numbers it computes, by name.

`'auto'` stands for what the machine is good at. It is looked up where the
network is opened, so the priors of one run may answer differently on different
machines: on a mixed cluster, name the dtype.
"""

from collections.abc import Callable, Mapping

import torch

from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import names

AUTO = messages.AUTO
# By the names that a configuration has for them.
DTYPES: Mapping[str, torch.dtype] = {
  name: getattr(torch, name) for name in messages.TEXT_DTYPES
}
# Instructions that multiply bfloat16 numbers, as torch names them: of Intel and
# AMD the first two, of ARM the last two.
_BFLOAT16 = ('avx512_bf16', 'amx_bf16', 'bf16', 'sve_bf16')


def planned_device(name: str) -> torch.device:
  """Returns the device of that name, which another machine may have.

  Args:
    name: a torch device; 'auto' takes CUDA where there is one.

  Raises:
    UserError: priors cannot be on such a device.
  """
  if name == AUTO:
    name = 'cuda' if torch.cuda.is_available() else 'cpu'
  try:
    device = torch.device(name)
  except RuntimeError as error:
    raise _unknown(name) from error
  if device.type not in _KINDS:
    raise _unknown(name)
  return device


# Apple's GPUs are 'mps'. Others of torch's kinds have no numbers, or were never
# thought of here.
_KINDS = ('cpu', 'cuda', 'mps')


def _unknown(name: str) -> errors.UserError:
  return errors.UserError(
    f"device is '{name}'; expected auto, cpu, cuda, cuda:NUMBER or mps."
  )


def resolve_device(name: str) -> torch.device:
  """Returns the device of that name, where this machine has such a kind.

  Raises:
    UserError: as `planned_device`; or there is none here.
  """
  device = planned_device(name)
  # Else torch says so in a traceback, after the weights have been read.
  if device.type == 'cuda' and not torch.cuda.is_available():
    raise errors.UserError(
      f"device is '{name}' and torch finds no CUDA device; give device auto or "
      'cpu, or reserve a GPU for this prior.'
    )
  count = torch.cuda.device_count() if device.type == 'cuda' else 0
  if (device.index or 0) >= count > 0:
    raise errors.UserError(
      f"device is '{name}' and torch finds {count} CUDA device(s) here; "
      f'expected cuda:0 to cuda:{count - 1}, or auto.'
    )
  if device.type == 'mps' and not torch.backends.mps.is_available():
    raise errors.UserError(
      f"device is '{name}' and torch finds no GPU of Apple's; give device auto "
      'or cpu.'
    )
  return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
  """Returns the numbers of that name.

  Args:
    name: one of `messages.DTYPES`; 'auto' takes bfloat16 where the device
      multiplies it in hardware, else float32.
    device: where the network will lie.

  Raises:
    UserError: not one of them.
  """
  names.check_choice('dtype', name, messages.DTYPES)
  if name == AUTO:
    return torch.bfloat16 if has_bfloat16(device) else torch.float32
  return DTYPES[name]


def has_bfloat16(device: torch.device) -> bool:
  """Returns whether a device multiplies bfloat16 in hardware.

  Without that it is several times slower than float32 (docs/results.md, 'Many
  priors, many cells').
  """
  if device.type == 'cuda':
    # A GPU of another machine is taken for one of today.
    if not torch.cuda.is_available():
      return True
    # Since Ampere; before, it is emulated.
    return torch.cuda.get_device_capability(device) >= (8, 0)
  if device.type != 'cpu':
    return False
  # Since torch 2.11; before, nothing public told.
  tell: Callable[[], Mapping] = getattr(torch.cpu, 'get_capabilities', dict)
  return any(tell().get(name, False) for name in _BFLOAT16)
