"""Tiny random CLIP directories, built by transformers' own classes."""

import math
import pathlib

import numpy as np
import torch
import transformers
from transformers.models.clip import image_processing_pil_clip

from tests.priors import tiny

IMAGE_SIZE = 16
MAX_TOKENS = 77
LOGIT_SCALE = math.log(50)


def write_clip(
  directory: pathlib.Path, seed: int = 0, max_shard_size: str = '1GB'
) -> pathlib.Path:
  """Writes model, image processor and a tokenizer of single letters."""
  _model(seed).save_pretrained(directory, max_shard_size=max_shard_size)
  processor().save_pretrained(directory)
  tiny.clip_tokenizer(directory)
  return directory


def processor(
  **changes,
) -> image_processing_pil_clip.CLIPImageProcessorPil:
  """Returns transformers' own processor, which needs no torchvision."""
  settings = {
    'size': {'shortest_edge': IMAGE_SIZE},
    'crop_size': {'height': IMAGE_SIZE, 'width': IMAGE_SIZE},
    **changes,
  }
  return image_processing_pil_clip.CLIPImageProcessorPil(**settings)


def expected_cosines(
  directory: pathlib.Path, images: np.ndarray, texts: list[str]
) -> np.ndarray:
  """Returns [N, P] as transformers computes them from end to end."""
  model = transformers.CLIPModel.from_pretrained(directory).eval()
  tokenizer = transformers.CLIPTokenizer.from_pretrained(directory)
  levels = [np.uint8(np.round(255 * image)) for image in images]
  pixels = processor()(images=levels, return_tensors='pt')
  tokens = tokenizer(texts, padding=True, return_tensors='pt')
  with torch.no_grad():
    logits = model(**tokens, **pixels).logits_per_image
  return (logits / model.logit_scale.exp()).detach().numpy()


def _model(seed: int) -> transformers.CLIPModel:
  size = {
    'hidden_size': 16,
    'intermediate_size': 32,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'projection_dim': 8,
  }
  special = {'bos_token_id': 54, 'eos_token_id': 55, 'pad_token_id': 55}
  text = {'vocab_size': 64, 'max_position_embeddings': MAX_TOKENS}
  vision = {'image_size': IMAGE_SIZE, 'patch_size': 4}
  config = transformers.CLIPConfig(
    text_config={**size, **text, **special},
    vision_config={**size, **vision},
    projection_dim=8,
    logit_scale_init_value=LOGIT_SCALE,
  )
  with torch.random.fork_rng(devices=[]), torch.no_grad():
    torch.manual_seed(seed)
    model = transformers.CLIPModel(config)
    # CLIP's first weights are so small that all inputs look nearly the same.
    for name, weight in model.named_parameters():
      if weight.ndim > 1:
        weight.normal_(0, 1 / math.sqrt(weight.shape[-1]))
      if 'embedding' in name:
        weight.normal_(0, 1)
  return model
