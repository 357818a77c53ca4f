"""Which form of attention a network computes, and in which precision.

Plain attention is much faster in some places. And a network may ask for
`upcast_attention` (Stable Diffusion 2.1): its scores may overflow float16.
"""

from collections.abc import Mapping
import contextlib
from typing import Any

from diffusers.models import attention_processor
import torch
from torch import overrides
from torch.nn import functional

from mmdist.core import errors

# Pixels of latents along an axis up to which the matrix of an attention between
# all of them is small beside the rest: 64 MiB of float32 a view.
_MOST_PLAIN = 64


def choose_attention(denoiser: Any, device: torch.device) -> None:
  """Takes plain attention for a small UNet on a CPU.

  On a CPU the backward pass of fused attention is slow. A UNet of more than
  32^2 tokens keeps it, since plain attention would need too much memory.
  """
  fused = attention_processor.AttnProcessor2_0
  if (
    device.type == 'cpu'
    and denoiser.config.get('sample_size', _MOST_PLAIN) <= 32
    and all(type(p) is fused for p in denoiser.attn_processors.values())
  ):
    denoiser.set_attn_processor(attention_processor.AttnProcessor())


def slice_attention(denoiser: Any) -> None:
  """Computes attention in slices, as diffusers does.

  Raises:
    UserError: a network of another class than UNet2DConditionModel.
  """
  if not hasattr(denoiser, 'set_attention_slice'):
    raise errors.UserError(
      f'memory.attention_slicing is on, and {type(denoiser).__name__} cannot '
      'slice its attention; expected a UNet, so switch it off.'
    )
  denoiser.set_attention_slice('auto')


def choose_of_vae(vae: Any, image_size: int, device: torch.device) -> None:
  """Takes plain attention for a KL VAE of few latents on a CUDA device.

  The deterministic backward pass of the fused one, of a single head of 512
  numbers, takes 0.1 s on an H100, of a score of 0.24 s.
  """
  if type(vae).__name__ != 'AutoencoderKL':
    return
  latents = image_size // 2 ** (len(vae.config.block_out_channels) - 1)
  if device.type == 'cuda' and latents <= _MOST_PLAIN:
    vae.set_attn_processor(attention_processor.AttnProcessor())


def upcast(network: Any) -> contextlib.AbstractContextManager[object]:
  """Returns a context in which a network's attention is as its config says.

  diffusers raises queries and keys to float32 itself, but autocast lowers them
  again, and fused attention is not told at all.

  Args:
    network: may ask for `upcast_attention`, and is not to be in autograd's way.
  """
  if network.config.get('upcast_attention'):
    return _Upcast()
  return contextlib.nullcontext()


# Where queries meet keys: in plain and sliced attention, and in fused.
_SCORES = (torch.baddbmm, functional.scaled_dot_product_attention)


class _Upcast(overrides.TorchFunctionMode):
  """Computes the scores of attention in float32, also under autocast."""

  def __torch_function__(
    self,
    func: Any,
    types: Any,
    args: tuple = (),
    kwargs: Mapping[str, Any] | None = None,
  ) -> Any:
    del types
    kwargs = dict(kwargs or {})
    if func not in _SCORES:
      return func(*args, **kwargs)
    given = [value for value in args if isinstance(value, torch.Tensor)]
    given += [v for v in kwargs.values() if isinstance(v, torch.Tensor)]
    # `baddbmm` gives float32, of which the softmax is taken; what is fused has
    # been through the softmax.
    dtype = torch.float32
    if func is functional.scaled_dot_product_attention:
      dtype = given[0].dtype
    with torch.autocast(given[0].device.type, enabled=False):
      result = func(
        *map(_raised, args), **{k: _raised(v) for k, v in kwargs.items()}
      )
    return result.to(dtype)


def _raised(value: Any) -> Any:
  if isinstance(value, torch.Tensor) and value.is_floating_point():
    return value.float()
  return value
