"""A CLIP model that the user has: how near pictures and texts are.

Owns the opening of a directory of transformers' `CLIPModel` (CLIP itself, and
PickScore, which is one that learned from people's choices) and the directions
that it gives pictures and texts. What these say of a run is
`mmdist.evaluation.pickscore`'s business.

A directory holds what `save_pretrained` of the model and of its processor
write: config.json, model.safetensors, preprocessor_config.json and the
tokenizer. Nothing is downloaded, pickled weights are refused since they could
run code, and code in a directory is never run.
"""

from collections.abc import Sequence
import math
import os
import pathlib
from typing import Any

import numpy as np
import torch
from torch.nn import functional
import transformers

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import model_files
from mmdist.evaluation import clip_images

_WEIGHTS = 'model.safetensors'
# Either file may have the image settings; the second, from transformers 5 on,
# has them in an entry of its own.
_IMAGE_SETTINGS = ('preprocessor_config.json', 'processor_config.json')
_TOKENIZERS = (('tokenizer.json',), ('vocab.json', 'merges.txt'))
_REMEDY = (
  'a CLIP directory is what save_pretrained of CLIPModel and CLIPProcessor '
  'write'
)


class Clip:
  """An opened CLIP model, in float32 on the CPU.

  Attributes:
    image_size: H = W of the pictures that its network reads; others are
      resized to it.
    scale: exp(logit_scale), what its cosines are multiplied by in training.
  """

  def __init__(
    self,
    model: transformers.CLIPModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    settings: clip_images.ImageSettings,
  ):
    # Any: its parts are dicts, or None, as far as their type knows.
    config: Any = model.config
    self.image_size: int = config.vision_config.image_size
    self._max_tokens: int = config.text_config.max_position_embeddings
    self.scale = math.exp(float(model.logit_scale.detach()))
    self._model, self._tokenizer, self._settings = model, tokenizer, settings

  @torch.no_grad()
  def embed_images(self, images: np.ndarray) -> np.ndarray:
    """Returns [N, D] unit directions of [N, H, W, 3] pictures in [0, 1]."""
    pixels = clip_images.preprocess(images, self._settings)
    pooled = self._model.vision_model(pixel_values=pixels).pooler_output
    return _unit(self._model.visual_projection(pooled))

  @torch.no_grad()
  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """Returns [P, D] unit directions of P texts; long ones are cut."""
    tokens = self._tokenizer(
      list(texts),
      padding=True,
      truncation=True,
      max_length=self._max_tokens,
      return_tensors='pt',
    )
    pooled = self._model.text_model(
      input_ids=tokens['input_ids'], attention_mask=tokens['attention_mask']
    ).pooler_output
    return _unit(self._model.text_projection(pooled))

  def cosines(self, images: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Returns [N, P] cosines between pictures and texts, in [-1, 1]."""
    return self.embed_images(images) @ self.embed_texts(texts).T


def load(directory: str | os.PathLike) -> Clip:
  """Opens a directory of transformers' CLIPModel.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  folder = local_paths.local(directory)
  if not folder.is_dir():
    raise FileNotFoundError(
      f"'{directory}' is no directory; {_REMEDY}. Nothing is downloaded here: "
      'fetch a model with `hf download OWNER/NAME --local-dir DIR`.'
    )
  _check_kind(folder)
  _check_weights(folder)
  settings = _load_image_settings(folder)
  tokenizer = _load_tokenizer(folder)
  model = _load_model(folder)
  _check_fit(folder, model, tokenizer, settings)
  return Clip(model, tokenizer, settings)


def _check_kind(folder: pathlib.Path) -> None:
  """Raises unless config.json declares a whole CLIP."""
  if (folder / 'model_index.json').is_file():
    raise errors.UserError(
      f'{folder / "model_index.json"} declares a diffusers pipeline; {_REMEDY}.'
    )
  kind = model_files.read_json(folder / 'config.json', _REMEDY).get(
    'model_type'
  )
  if kind != 'clip':
    raise errors.UserError(
      f"{folder / 'config.json'} declares '{kind or 'no model_type'}', which "
      f'is not a CLIPModel; {_REMEDY}.'
    )


def _check_weights(folder: pathlib.Path) -> None:
  """Raises unless all weights are whole safetensors."""
  names = [_WEIGHTS]
  index = folder / f'{_WEIGHTS}.index.json'
  if index.is_file() and not (folder / _WEIGHTS).is_file():
    weight_map = model_files.read_json(index, _REMEDY).get('weight_map', {})
    names = sorted(set(weight_map.values()))
  for path in (folder / name for name in names):
    if not path.is_file():
      raise _missing_weights(path)
    model_files.check_safetensors(path)


def _missing_weights(path: pathlib.Path) -> Exception:
  pickled = model_files.find_pickles(path.parent)
  if not pickled:
    return FileNotFoundError(f'{path} is missing; {_REMEDY}.')
  return errors.UserError(
    f'{pickled[0]} is pickled and could run code; convert it to {path.name} '
    '(save_pretrained of transformers writes safetensors).'
  )


def _load_image_settings(folder: pathlib.Path) -> clip_images.ImageSettings:
  own, shared = (folder / name for name in _IMAGE_SETTINGS)
  path = own if own.is_file() or not shared.is_file() else shared
  config = model_files.read_json(path, _REMEDY)
  try:
    if path == shared:
      config = config['image_processor']
    return clip_images.read_settings(config)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise errors.UserError(
      f'{path} is not of a CLIP image processor: '
      f'{model_files.first_line(error)}'
    ) from error


def _load_tokenizer(
  folder: pathlib.Path,
) -> transformers.PreTrainedTokenizerBase:
  # Where the files are missing, transformers makes an empty tokenizer without
  # an error.
  if not any(
    all((folder / name).is_file() for name in names) for names in _TOKENIZERS
  ):
    raise FileNotFoundError(
      f'{folder} has no tokenizer.json, nor vocab.json and merges.txt; '
      f'{_REMEDY}.'
    )
  try:
    return transformers.AutoTokenizer.from_pretrained(
      str(folder), local_files_only=True, trust_remote_code=False
    )
  # tokenizers raises bare Exception for a tokenizer.json it cannot parse.
  except Exception as error:
    raise errors.UserError(
      f'the tokenizer in {folder} cannot be opened: '
      f'{model_files.first_line(error)}'
    ) from error


def _load_model(folder: pathlib.Path) -> transformers.CLIPModel:
  transformers.utils.logging.disable_progress_bar()
  try:
    loaded: Any = transformers.CLIPModel.from_pretrained(
      str(folder),
      use_safetensors=True,
      local_files_only=True,
      dtype=torch.float32,
      output_loading_info=True,
    )
    model, info = loaded
  except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
    raise errors.UserError(
      f'{folder} does not fit CLIPModel: {model_files.first_line(error)}'
    ) from error
  if info['missing_keys']:
    raise errors.UserError(
      f'{folder / _WEIGHTS} lacks {len(info["missing_keys"])} weights, '
      f'{min(info["missing_keys"])} among them; is config.json of another '
      'model?'
    )
  return model.requires_grad_(False).eval()


def _check_fit(
  folder: pathlib.Path,
  model: transformers.CLIPModel,
  tokenizer: transformers.PreTrainedTokenizerBase,
  settings: clip_images.ImageSettings,
) -> None:
  """Raises unless tokenizer and image settings are of this network."""
  config: Any = model.config
  size = config.vision_config.image_size
  if settings.output_size != (size, size):
    raise errors.UserError(
      f'{folder} has settings for pictures of {settings.output_size} pixels, '
      f'but its network reads {size}; is {_IMAGE_SETTINGS[0]} of another model?'
    )
  if len(tokenizer) > config.text_config.vocab_size:
    raise errors.UserError(
      f'the tokenizer in {folder} knows {len(tokenizer)} tokens, its network '
      f'{config.text_config.vocab_size}; is it of another model?'
    )


def _unit(vectors: torch.Tensor) -> np.ndarray:
  return functional.normalize(vectors.float(), dim=-1).numpy()
