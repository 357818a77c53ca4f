"""Which form of attention a network computes, where one is much faster."""

from typing import Any

from diffusers.models import attention_processor
import torch

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
    and denoiser.config.sample_size <= 32
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
  """Takes plain attention for a VAE of few latents on a CUDA device.

  The deterministic backward pass of the fused one, of a single head of 512
  numbers, takes 0.1 s on an H100, of a score of 0.24 s.
  """
  latents = image_size // 2 ** (len(vae.config.block_out_channels) - 1)
  if device.type == 'cuda' and latents <= _MOST_PLAIN:
    vae.set_attn_processor(attention_processor.AttnProcessor())
