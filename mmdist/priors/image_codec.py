"""Between pixels and what a network sees: a VAE, or pixels rearranged.

A codec turns [V, 3, H, W] in [-1, 1] into latents [V, C, H / factor,
W / factor] and back, differentiably, so that a residual on latents can be taken
back to pixels.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, Protocol

import diffusers
import torch
from torch.nn import functional
from torch.utils import checkpoint

from mmdist.core import errors
from mmdist.core import plain_numbers
from mmdist.priors import signatures


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


@dataclasses.dataclass(frozen=True)
class LatentScaling:
  """What is between a VAE's latents and those that a network was trained on.

  The network's are (latents - mean) scale. A VAE's config has a `shift_factor`
  (Stable Diffusion 3, Flux) or, for each channel, `latents_mean` and
  `latents_std` (Playground 2.5), beside its `scaling_factor`.

  Attributes:
    mean: of each channel, or one number for all.
    scale: of each channel, or one number for all.
  """

  mean: tuple[float, ...] = (0.0,)
  scale: tuple[float, ...] = (1.0,)


@dataclasses.dataclass(frozen=True)
class _Vae:
  """How the config of a class of VAEs says what it makes of an image.

  Attributes:
    levels: the field with an entry for each level.
    halvings: of an image, less than there are levels.
    channels: the field with the channels of its latents.
    has_frames: whether it takes videos.
  """

  levels: str
  halvings: int = -1
  channels: str = 'latent_channels'
  has_frames: bool = False


_VAES = {
  'AutoencoderKL': _Vae('block_out_channels'),
  'AutoencoderDC': _Vae('encoder_block_out_channels'),
  'AutoencoderKLQwenImage': _Vae('temperal_downsample', 0, 'z_dim', True),
}


def read_vae(path: pathlib.Path, config: Mapping[str, Any]) -> tuple[int, int]:
  """Reads what a VAE makes of an image.

  Args:
    path: of its config.json, for errors.
    config: what that holds.

  Returns:
    Pixels per latent along an axis, and channels of the latents.

  Raises:
    UserError: in one line, the class or the field that is wrong.
  """
  name = config.get('_class_name', 'AutoencoderKL')
  if name not in _VAES:
    raise errors.UserError(
      f'{path} declares {name}; expected one of {", ".join(_VAES)}.'
    )
  config = _completed(name, config)
  read_scaling(config, path)
  return _factor(name, config), config.get('latent_channels', 4)


def vae_class(config: Mapping[str, Any]) -> Any:
  """Returns diffusers' class of a VAE by its config.json."""
  return getattr(diffusers, config.get('_class_name', 'AutoencoderKL'))


def _completed(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config in AutoencoderKL's fields, with defaults of its class."""
  if name == 'AutoencoderKL':  # Its defaults are known where it is read.
    return dict(config)
  defaults = signatures.defaults_of(getattr(diffusers, name))
  config = {'scaling_factor': 1.0, **defaults, **config}
  return config | {'latent_channels': config[_VAES[name].channels]}


def _factor(name: str, config: Mapping[str, Any]) -> int:
  """Returns the pixels per latent along an axis of a VAE."""
  vae = _VAES[name]
  return 2 ** (len(config.get(vae.levels, (64,))) + vae.halvings)


def encode_mean(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
  """Returns what a VAE makes of images, without a draw and unscaled.

  Args:
    vae: of a class that `read_vae` knows.
    pixels: [V, 3, H, W] in [-1, 1].

  Returns:
    [V, C, H / factor, W / factor].
  """
  has_frames = _VAES[type(vae).__name__].has_frames
  encoded = vae.encode(pixels[:, :, None] if has_frames else pixels)
  if hasattr(encoded, 'latent'):  # AutoencoderDC has no posterior.
    return encoded.latent
  mean = encoded.latent_dist.mean
  return mean[:, :, 0] if has_frames else mean


def read_scaling(config: Mapping[str, Any], source: object) -> LatentScaling:
  """Reads how the latents of a VAE are shifted and scaled.

  Args:
    config: of a VAE.
    source: what the error names it.

  Raises:
    UserError: in one line, the field that is wrong.
  """

  def fail(field: str, expected: str) -> errors.UserError:
    value = str(config.get(field))[:80]
    return errors.UserError(
      f'{source} has {field}={value}; expected {expected}.'
    )

  factor = config.get('scaling_factor', 0.18215)
  if not plain_numbers.is_finite(factor) or factor == 0:
    raise fail('scaling_factor', 'one number other than 0')
  shift = config.get('shift_factor') or 0.0
  if not plain_numbers.is_finite(shift):
    raise fail('shift_factor', 'one number')
  lists = {
    field: config[field]
    for field in ('latents_mean', 'latents_std')
    if config.get(field) is not None
  }
  if not lists:
    return LatentScaling((float(shift),), (float(factor),))
  if len(lists) == 1:
    (field,) = lists
    raise fail(field, 'latents_mean and latents_std, or neither')
  channels = config.get('latent_channels', 4)
  for field, values in lists.items():
    if (
      not isinstance(values, list | tuple)
      or len(values) != channels
      or not all(map(plain_numbers.is_finite, values))
    ):
      raise fail(field, f'a list of {channels} numbers, one per channel')
  if min(lists['latents_std']) <= 0:
    raise fail('latents_std', 'numbers above 0')
  if shift:
    raise fail('shift_factor', 'none beside latents_mean')
  return LatentScaling(
    tuple(float(mean) for mean in lists['latents_mean']),
    tuple(float(factor) / std for std in lists['latents_std']),
  )


def vae_dtype(config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
  """Returns in which dtype a VAE computes.

  Args:
    config: its config.json, without the defaults of its class: only some VAEs
      say that they need float32 (`force_upcast`), though it is the default.
    dtype: of the network.
  """
  # In float16 the VAE of Stable Diffusion gives infinity, and the gradient of
  # one that does not is too small for it.
  if dtype == torch.float16 or config.get('force_upcast') is True:
    return torch.float32
  return dtype


class VaeCodec:
  """The latents of a VAE of diffusers, scaled as its config says.

  Takes the mean of the posterior, not a draw: the answer stays a function of
  the request alone, and the posterior of Stable Diffusion's VAE is narrow.
  """

  def __init__(self, vae: Any, recompute: bool = False):
    """Wraps a VAE.

    Args:
      vae: of a class that `read_vae` knows.
      recompute: run the encoder again in the backward pass instead of keeping
        its activations, which outweigh the network's at full size.
    """
    self.vae = vae
    self._recompute = recompute
    name = type(vae).__name__
    config = _completed(name, vae.config)
    self.factor = _factor(name, config)
    self._has_frames = _VAES[name].has_frames
    scaling = read_scaling(config, 'vae/config.json')
    # Of one number or one per channel, in front of height and width.
    self._mean, self._scale = (
      torch.tensor(numbers, device=vae.device)[:, None, None]
      for numbers in (scaling.mean, scaling.scale)
    )

  def encode(self, pixels: torch.Tensor) -> torch.Tensor:
    pixels = pixels.to(self.vae.dtype)
    if self._recompute and pixels.requires_grad:
      latents = checkpoint.checkpoint(self._encode, pixels, use_reentrant=False)
    else:
      latents = self._encode(pixels)
    return (latents.float() - self._mean) * self._scale

  def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
    return encode_mean(self.vae, pixels)

  def decode(self, latents: torch.Tensor) -> torch.Tensor:
    latents = latents / self._scale + self._mean
    latents = latents.to(self.vae.dtype)
    if self._has_frames:
      return self.vae.decode(latents[:, :, None]).sample[:, :, 0].float()
    return self.vae.decode(latents).sample.float()
