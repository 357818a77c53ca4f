"""Runs a denoising network by the signature of its class.

Every network takes noisy latents, a time and the conditions of a text; what
its class calls them, and what SDXL wants besides, is known here only.
"""

from typing import Any

import torch

from mmdist.priors import text_encoders


def run(
  network: Any,
  noisy: torch.Tensor,
  time: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  image_size: int,
) -> torch.Tensor:
  """Runs a network once.

  Args:
    network: a UNet2DConditionModel or SD3Transformer2DModel.
    noisy: [B, C, h, w] in the network's dtype.
    time: [B], as its schedule calls it.
    prompt_embeds: of B texts, in the network's dtype.
    image_size: pixels along an axis, which SDXL is told.

  Returns:
    [B, C, h, w]. Where a network predicts a variance too, it is left out.
  """
  if 'joint_attention_dim' in network.config:
    return network(
      hidden_states=noisy,
      timestep=time,
      encoder_hidden_states=prompt_embeds.sequence,
      pooled_projections=prompt_embeds.pooled,
    ).sample
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
