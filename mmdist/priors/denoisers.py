"""Runs a denoising network by the signature of its class.

Every network takes noisy latents, a time and the conditions of a text; what
its class calls them, and what it wants besides, is known here only.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import diffusers
from diffusers import loaders
import torch
from torch.nn import functional

from mmdist.core import errors
from mmdist.priors import text_encoders

# What a network is told that has learned guidance of its own (Flux dev), as
# diffusers' pipeline does. It is no factor between two predictions.
DISTILLED_GUIDANCE = 3.5


def network_class(name: str) -> type:
  """Returns diffusers' class of a network, one that takes adapters.

  Some of its classes do not (PixArt), though nothing in them is in the way.

  Args:
    name: as a config.json declares it.
  """
  found = getattr(diffusers, name)
  if issubclass(found, loaders.PeftAdapterMixin):
    return found
  # Of the same name, under which it is saved.
  return type(name, (found, loaders.PeftAdapterMixin), {})


def run(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs a network once.

  Args:
    network: of a class of `NETWORKS`; one of another class, which no directory
      declares, is called as a UNet is.
    noisy: [B, C, h, w] in the network's dtype.
    time: [B], as its schedule calls it.
    prompt_embeds: of B texts, in the network's dtype.
    image_size: pixels along an axis, which SDXL is told.

  Returns:
    [B, C, h, w]. Where a network predicts a variance too, it is left out.
  """
  kind = NETWORKS.get(type(network).__name__, _UNET)
  return kind.call(network, noisy, time, prompt_embeds, image_size)


def latent_channels(name: str, config: Mapping[str, Any]) -> int:
  """Returns the channels of the latents that a network takes.

  Args:
    name: of its class.
    config: its own.
  """
  return config['in_channels'] // (4 if NETWORKS[name].is_packed else 1)


def output_channels(name: str, config: Mapping[str, Any]) -> int:
  """Returns the channels of what a network makes, the variance included.

  Args:
    name: of its class.
    config: its own.
  """
  if NETWORKS[name].is_packed:
    return config['out_channels'] * config['patch_size'] ** 2 // 4
  return config['out_channels']


def patch_size(name: str, config: Mapping[str, Any]) -> int:
  """Returns how many latents along an axis a network sees as one token.

  Args:
    name: of its class.
    config: its own; a UNet's says none.
  """
  return NETWORKS[name].patch or config.get('patch_size') or 1


def check_can_be_recorded(name: str) -> None:
  """Raises UserError if passes of a class of networks cannot be recorded."""
  if NETWORKS[name].asks_cpu:
    raise errors.UserError(
      f'memory.cuda_graphs is on, and {name} cannot be recorded, since it asks '
      'the CPU how long texts are; switch it off.'
    )


def _run_unet(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs a UNet; SDXL's is told the size of images."""
  more = {}
  if network.config.get('addition_embed_type') == 'text_time':
    more['added_cond_kwargs'] = {
      'text_embeds': prompt_embeds.pooled,
      'time_ids': size_conditions(image_size, noisy),
    }
  noise_pred = network(
    noisy, time, encoder_hidden_states=prompt_embeds.sequence, **more
  ).sample
  return noise_pred[:, : noisy.shape[1]]


def _run_sd3(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  del image_size
  return network(
    hidden_states=noisy,
    timestep=time,
    encoder_hidden_states=prompt_embeds.sequence,
    pooled_projections=prompt_embeds.pooled,
  ).sample


def _run_sana(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  del image_size
  noise_pred = network(
    hidden_states=noisy,
    encoder_hidden_states=prompt_embeds.sequence,
    encoder_attention_mask=prompt_embeds.pooled,
    timestep=time * network.config['timestep_scale'],
  ).sample
  return noise_pred[:, : noisy.shape[1]]


def _run_z_image(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs Z-Image, whose time and velocity go from noise to images.

  It is given each text without padding, since the places of its tokens depend
  on how long the text is.
  """
  del image_size
  sequence, mask = prompt_embeds.sequence, prompt_embeds.pooled
  lengths = [sequence.shape[1]] * len(sequence)
  if mask is not None and not mask.is_meta:
    # bfloat16 has no odd numbers above 256.
    lengths = mask.float().sum(1).int().tolist()
  velocities = network(
    x=list(noisy.unsqueeze(2)),
    t=(1000 - time) / 1000,
    cap_feats=[text[:length] for text, length in zip(sequence, lengths)],
  ).sample
  return -torch.stack(velocities).squeeze(2)


def _run_auraflow(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  del image_size
  return network(
    hidden_states=noisy,
    encoder_hidden_states=prompt_embeds.sequence,
    timestep=time / 1000,
  ).sample


def _run_flux(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs Flux, which sees tokens, and wants to know where each of them is."""
  del image_size
  batch, _, height, width = noisy.shape
  places = noisy.new_zeros(height // 2, width // 2, 3, dtype=torch.float32)
  for axis, size in enumerate(places.shape[:2]):
    steps = torch.arange(size, device=noisy.device, dtype=places.dtype)
    places[..., axis + 1] = steps[:, None] if axis == 0 else steps
  guidance = None
  if network.config['guidance_embeds']:
    guidance = time.new_full((batch,), DISTILLED_GUIDANCE, dtype=torch.float32)
  tokens = network(
    hidden_states=_pack(noisy),
    timestep=time / 1000,
    guidance=guidance,
    encoder_hidden_states=prompt_embeds.sequence,
    pooled_projections=prompt_embeds.pooled,
    img_ids=places.flatten(0, 1),
    txt_ids=places.new_zeros(prompt_embeds.sequence.shape[1], 3),
  ).sample
  return _unpack(tokens, noisy)


def _run_qwen_image(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs Qwen-Image, to which an image is a video of one frame."""
  del image_size
  batch, _, height, width = noisy.shape
  tokens = network(
    hidden_states=_pack(noisy),
    timestep=time / 1000,
    encoder_hidden_states=prompt_embeds.sequence,
    encoder_hidden_states_mask=prompt_embeds.pooled,
    img_shapes=[[(1, height // 2, width // 2)]] * batch,
  ).sample
  return _unpack(tokens, noisy)


def _pack(latents: torch.Tensor) -> torch.Tensor:
  """Turns latents [B, C, h, w] into tokens of 2 x 2, [B, hw / 4, 4 C]."""
  return functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def _unpack(tokens: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
  """Turns tokens back into latents, of the height and width of others."""
  height, width = like.shape[2:]
  folded = tokens.transpose(1, 2).unflatten(2, (height // 2, width // 2))
  return functional.pixel_shuffle(folded, 2)


def _run_pixart(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs PixArt; that of 1024 pixels is told the size and shape of images."""
  sizes = ratio = None
  if network.config['sample_size'] == 128:
    sizes = noisy.new_full((len(noisy), 2), image_size)
    ratio = noisy.new_ones(len(noisy), 1)
  noise_pred = network(
    hidden_states=noisy,
    encoder_hidden_states=prompt_embeds.sequence,
    encoder_attention_mask=prompt_embeds.pooled,
    timestep=time,
    added_cond_kwargs={'resolution': sizes, 'aspect_ratio': ratio},
  ).sample
  return noise_pred[:, : noisy.shape[1]]


def size_conditions(image_size: int, like: torch.Tensor) -> torch.Tensor:
  """Returns SDXL's conditions [B, 6]: original size, crop (0, 0), target size.

  Every row is the same: a square image of the size that the network knows.

  Args:
    image_size: pixels along an axis.
    like: [B, ...] of the dtype and on the device that are wanted.
  """
  # Made where they are wanted: a copy from the CPU cannot be recorded.
  sizes = like.new_full((len(like), 6), image_size)
  sizes[:, 2:4] = 0
  return sizes


@dataclasses.dataclass(frozen=True)
class Network:
  """How the networks of one class are called.

  Attributes:
    call: runs one; see `run`.
    text_width: the field of its config that says how wide its texts are.
    is_packed: whether it sees 2 x 2 latents as the channels of one.
    patch: latents along an axis that are one token; None where its config says
      so.
    has_mask: whether the vector of its texts says which tokens are none.
    asks_cpu: whether a pass needs a number from a device, or gives it one, and
      so cannot be recorded.
  """

  call: Callable[
    [Any, torch.Tensor, torch.Tensor, text_encoders.PromptEmbeds, int],
    torch.Tensor,
  ]
  text_width: str
  is_packed: bool = False
  patch: int | None = None
  has_mask: bool = False
  asks_cpu: bool = False


_UNET = Network(_run_unet, 'cross_attention_dim')
# By the class that a config.json declares.
NETWORKS: Mapping[str, Network] = {
  'UNet2DConditionModel': _UNET,
  'SD3Transformer2DModel': Network(_run_sd3, 'joint_attention_dim'),
  'FluxTransformer2DModel': Network(
    _run_flux, 'joint_attention_dim', is_packed=True, patch=2
  ),
  'PixArtTransformer2DModel': Network(
    _run_pixart, 'caption_channels', has_mask=True
  ),
  'AuraFlowTransformer2DModel': Network(_run_auraflow, 'joint_attention_dim'),
  'SanaTransformer2DModel': Network(
    _run_sana, 'caption_channels', has_mask=True
  ),
  'QwenImageTransformer2DModel': Network(
    _run_qwen_image,
    'joint_attention_dim',
    is_packed=True,
    patch=2,
    has_mask=True,
    asks_cpu=True,
  ),
  'ZImageTransformer2DModel': Network(
    _run_z_image, 'cap_feat_dim', patch=2, has_mask=True, asks_cpu=True
  ),
}
