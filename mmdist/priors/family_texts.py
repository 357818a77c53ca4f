"""Which text encoders a diffusers directory has, and how each is read.

Found from configuration files alone. What is done between a prompt and the
network's conditions is `text_encoders.py`'s.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from mmdist.core import errors
from mmdist.priors import chat_templates
from mmdist.priors import directory as files
from mmdist.priors import text_encoders

CLIP, CLIP_PROJECTION = 'CLIPTextModel', 'CLIPTextModelWithProjection'
T5, UMT5, GEMMA2, QWEN3, QWEN_VL = 'T5', 'UMT5', 'Gemma2', 'Qwen3', 'Qwen2.5-VL'
_CLIPS = (CLIP, CLIP_PROJECTION)
_LANGUAGE_MODELS = (GEMMA2, QWEN3, QWEN_VL)
# As the configuration files name them.
_TEXT_CLASSES = {
  'CLIPTextModel': CLIP,
  'CLIPTextModelWithProjection': CLIP_PROJECTION,
  'T5EncoderModel': T5,
  'T5ForConditionalGeneration': T5,
  'UMT5EncoderModel': UMT5,
  'Gemma2Model': GEMMA2,
  'Gemma2ForCausalLM': GEMMA2,
  'Qwen3Model': QWEN3,
  'Qwen3ForCausalLM': QWEN3,
  'Qwen2_5_VLForConditionalGeneration': QWEN_VL,
}
# Kind -> the class of transformers that is opened.
ENCODERS = {
  CLIP: 'CLIPTextModel',
  CLIP_PROJECTION: 'CLIPTextModelWithProjection',
  T5: 'T5EncoderModel',
  UMT5: 'UMT5EncoderModel',
  GEMMA2: 'Gemma2Model',
  QWEN3: 'Qwen3Model',
  QWEN_VL: 'Qwen2_5_VLForConditionalGeneration',
}
_UNET, _SD3, _FLUX, _PIXART, _AURAFLOW, _SANA, _Z_IMAGE, _QWEN_IMAGE = (
  'UNet2DConditionModel',
  'SD3Transformer2DModel',
  'FluxTransformer2DModel',
  'PixArtTransformer2DModel',
  'AuraFlowTransformer2DModel',
  chat_templates.SANA,
  chat_templates.Z_IMAGE,
  chat_templates.QWEN_IMAGE,
)
# Tokens of a text that others than CLIP read, as diffusers' pipelines give
# them. DeepFloyd IF's was trained on 77; PixArt alpha's on 120, and sigma's on
# 300.
_TOKENS = {
  _UNET: 77,
  _SD3: 256,
  _FLUX: 512,
  _PIXART: 120,
  _AURAFLOW: 256,
  _SANA: 300,
  _Z_IMAGE: 512,
  _QWEN_IMAGE: 512,
}
_SIGMA_TOKENS = 300


@dataclasses.dataclass(frozen=True)
class TextFolder:
  """One text encoder of a directory.

  Attributes:
    component: its folder.
    tokenizer: the folder of its tokenizer.
    kind: a key of `ENCODERS`.
    length: tokens of a text, both ends included.
    style: which layer is read, and how its texts are prepared.
    template: whose template is around a text; see `chat_templates`.
  """

  component: str
  tokenizer: str
  kind: str
  length: int
  style: text_encoders.Style
  template: str = ''


def read_texts(
  directory: pathlib.Path,
  settings: Mapping[str, Any],
  network: Mapping[str, Any],
) -> tuple[TextFolder, ...]:
  """Reads which text encoders a directory has, in the order of their folders.

  Args:
    directory: of a family.
    settings: its `mmdist.json`.
    network: the config of its network.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong, or that
      the encoders do not go with the network.
  """
  texts = []
  for suffix in ('', '_2', '_3'):
    component = f'text_encoder{suffix}'
    if not (directory / component).is_dir():
      continue
    path = directory / component / 'config.json'
    config = files.read_json(path)
    kind = _text_kind(path, config)
    texts.append((component, f'tokenizer{suffix}', kind, config))
  kinds = tuple(text[2] for text in texts)
  styles = _STYLES.get((network['_class_name'], kinds))
  if styles is None:
    raise errors.UserError(
      f'{directory} has a {network["_class_name"]} with the text encoders '
      f'{", ".join(kinds) or "none"}; expected those of Stable Diffusion 1, 2, '
      'XL or 3, of DeepFloyd IF, Flux, PixArt, AuraFlow, Sana, Z-Image or '
      'Qwen-Image (text_encoder/, text_encoder_2/, ...).'
    )
  return tuple(
    TextFolder(
      component,
      tokenizer,
      kind,
      _text_length(directory / tokenizer, kind, config, settings, network),
      style,
      network['_class_name'] if kind in _LANGUAGE_MODELS else '',
    )
    for (component, tokenizer, kind, config), style in zip(
      texts, styles, strict=True
    )
  )


_PENULTIMATE = text_encoders.Style(penultimate=True)
# (network, text encoders) -> how each is read.
_STYLES = {
  (_UNET, (CLIP,)): (text_encoders.Style(),),
  (_UNET, (T5,)): (text_encoders.Style(masked=True, lowercase=True),),
  (_UNET, (CLIP, CLIP_PROJECTION)): (_PENULTIMATE,) * 2,
  (_SD3, (CLIP_PROJECTION,) * 2): (_PENULTIMATE,) * 2,
  (_SD3, (CLIP_PROJECTION, CLIP_PROJECTION, T5)): (
    _PENULTIMATE,
    _PENULTIMATE,
    text_encoders.Style(),
  ),
  (_FLUX, (CLIP, T5)): (
    text_encoders.Style(pooler=True),
    text_encoders.Style(),
  ),
  (_PIXART, (T5,)): (
    text_encoders.Style(masked=True, lowercase=True, tells_mask=True),
  ),
  (_AURAFLOW, (UMT5,)): (text_encoders.Style(masked=True, zero_padding=True),),
  (_SANA, (GEMMA2,)): (text_encoders.Style(),),
  (_Z_IMAGE, (QWEN3,)): (_PENULTIMATE,),
  (_QWEN_IMAGE, (QWEN_VL,)): (text_encoders.Style(),),
}


def _text_kind(path: pathlib.Path, config: Mapping[str, Any]) -> str:
  if 'auto_map' in config:
    raise errors.UserError(
      f'{path} asks for code of its own (auto_map), which mmdist never runs.'
    )
  names = config.get('architectures') or ['no class']
  if names[0] not in _TEXT_CLASSES:
    raise errors.UserError(
      f'{path} declares {names[0]}; expected one of {", ".join(_TEXT_CLASSES)}.'
    )
  return _TEXT_CLASSES[names[0]]


def _text_length(
  folder: pathlib.Path,
  kind: str,
  config: Mapping[str, Any],
  settings: Mapping[str, Any],
  network: Mapping[str, Any],
) -> int:
  """Returns how many tokens a text has, both ends included.

  The model's number, or fewer if the directory's settings say so.
  """
  if kind not in _CLIPS:
    longest = _TOKENS[network['_class_name']]
    index = folder.parent / 'model_index.json'
    if network['_class_name'] == _PIXART and index.is_file():
      if 'Sigma' in str(files.read_json(index).get('_class_name')):
        longest = _SIGMA_TOKENS
    path = folder / 'tokenizer_config.json'
    if network['_class_name'] == _UNET and path.is_file():
      given = files.read_json(path).get('model_max_length', longest)
      longest = min(longest, given)
  else:
    longest = config.get('max_position_embeddings', 77)
  return files.prompt_length(settings, longest)


def choose_join(
  directory: pathlib.Path,
  config: Mapping[str, Any],
  texts: Sequence[TextFolder],
) -> text_encoders.Join:
  """Returns what makes one embedding of the answers of a family's encoders.

  Args:
    directory: of the family.
    config: of its network.
    texts: what `read_texts` returned for it.

  Raises:
    UserError: a UNet that wants other conditions than its text encoders give.
  """
  name = config['_class_name']
  if name == _SD3:
    tokens = _TOKENS[_SD3]
    return text_encoders.join_three(tokens, config['joint_attention_dim'])
  if name in _JOINS:
    return _JOINS[name]
  wants_size = config['addition_embed_type'] == 'text_time'
  if wants_size != (len(texts) == 2):
    raise errors.UserError(
      f'{directory / "unet" / "config.json"} has addition_embed_type='
      f'{config["addition_embed_type"]!r} and {len(texts)} text encoder(s); '
      "expected 'text_time' with two, as SDXL, or something else with one."
    )
  return text_encoders.join_two if wants_size else text_encoders.join_one


_JOINS: Mapping[str, text_encoders.Join] = {
  _FLUX: text_encoders.join_flux,
  _PIXART: text_encoders.join_masked,
  _AURAFLOW: text_encoders.join_one,
  _SANA: text_encoders.join_masked,
  _Z_IMAGE: text_encoders.join_masked,
  _QWEN_IMAGE: text_encoders.join_masked,
}


def check_chunks(
  directory: pathlib.Path, texts: Sequence[TextFolder], num_chunks: int
) -> None:
  """Checks that texts can be read in so many pieces.

  Args:
    directory: of a family.
    texts: its text encoders.
    num_chunks: pieces.

  Raises:
    UserError: one of them is not a CLIP, and reads long texts whole.
  """
  long = [text for text in texts if text.kind not in _CLIPS]
  if num_chunks > 1 and long:
    raise errors.UserError(
      f'prompt_chunks is {num_chunks}; expected 1, since {long[0].component} '
      f'of {directory} is a {long[0].kind}, which reads long texts whole.'
    )
