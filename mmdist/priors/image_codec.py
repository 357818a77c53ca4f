"""Between pixels and what a network sees: a VAE, or pixels rearranged.

A codec turns [V, 3, H, W] in [-1, 1] into latents [V, C, H / factor,
W / factor] and back, differentiably, so that a residual on latents can be taken
back to pixels.
"""

import dataclasses
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.utils import checkpoint


class ImageCodec(Protocol):
  """What a pipeline encodes its images with."""

  @property
  def factor(self) -> int:
    """Pixels per latent along an axis."""

  def encode(self, pixels: torch.Tensor) -> torch.Tensor:
    """Turns pixels into latents; see the module for shapes and ranges."""

  def decode(self, latents: torch.Tensor) -> torch.Tensor:
    """Turns latents into pixels, which may leave [-1, 1]."""


@dataclasses.dataclass(frozen=True)
class PixelCodec:
  """Folds factor x factor pixels into channels; 1 leaves pixels as they are."""

  factor: int = 1

  def encode(self, pixels: torch.Tensor) -> torch.Tensor:
    return functional.pixel_unshuffle(pixels, self.factor)

  def decode(self, latents: torch.Tensor) -> torch.Tensor:
    return functional.pixel_shuffle(latents, self.factor)


class VaeCodec:
  """The latents of a diffusers AutoencoderKL, scaled as its config says.

  Takes the mean of the posterior, not a draw: the answer stays a function of
  the request alone, and the posterior of Stable Diffusion's VAE is narrow.
  """

  def __init__(self, vae: Any, recompute: bool = False):
    """Wraps a VAE.

    Args:
      vae: an AutoencoderKL.
      recompute: run the encoder again in the backward pass instead of keeping
        its activations, which outweigh the network's at full size.
    """
    self.vae = vae
    self._recompute = recompute
    self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
    self._scale = vae.config.scaling_factor
    self._shift = getattr(vae.config, 'shift_factor', None) or 0.0

  def encode(self, pixels: torch.Tensor) -> torch.Tensor:
    pixels = pixels.to(self.vae.dtype)
    if self._recompute and pixels.requires_grad:
      mean = checkpoint.checkpoint(self._mean, pixels, use_reentrant=False)
    else:
      mean = self._mean(pixels)
    return (mean.float() - self._shift) * self._scale

  def _mean(self, pixels: torch.Tensor) -> torch.Tensor:
    return self.vae.encode(pixels).latent_dist.mean

  def decode(self, latents: torch.Tensor) -> torch.Tensor:
    latents = latents / self._scale + self._shift
    return self.vae.decode(latents.to(self.vae.dtype)).sample.float()
