"""What a diffusers directory declares itself to be, before a weight is read.

The family of a prior is read from its configuration files; there is no setting
for it. Everything that opening a directory needs to know is read here, and what
is not understood is refused here, in one line that names the file.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import inspect
import pathlib
from typing import Any

import diffusers

from mmdist.core import errors
from mmdist.priors import denoisers
from mmdist.priors import directory as files
from mmdist.priors import image_codec
from mmdist.priors import schedule as schedules
from mmdist.priors import text_encoders

CLIP, CLIP_PROJECTION, T5 = 'CLIPTextModel', 'CLIPTextModelWithProjection', 'T5'
# As the configuration files name them.
_TEXT_CLASSES = {
  'CLIPTextModel': CLIP,
  'CLIPTextModelWithProjection': CLIP_PROJECTION,
  'T5EncoderModel': T5,
  'T5ForConditionalGeneration': T5,
}
_UNET, _SD3, _FLUX, _PIXART = (
  'UNet2DConditionModel',
  'SD3Transformer2DModel',
  'FluxTransformer2DModel',
  'PixArtTransformer2DModel',
)
DENOISERS = (_UNET, _SD3, _FLUX, _PIXART)
# Tokens of a text that a T5 reads, as diffusers' pipelines give them. DeepFloyd
# IF's was trained on 77; PixArt alpha's on 120, and sigma's on 300.
_T5_TOKENS = {
  _UNET: 77,
  _SD3: 256,
  _FLUX: 512,
  _PIXART: 120,
}
_SIGMA_TOKENS = 300
# Latents along an axis of the images that a Flux is trained on: its config has
# no sample_size.
_FLUX_LATENTS = 128
CODECS = ('pixel_unshuffle', 'identity', 'vae')


@dataclasses.dataclass(frozen=True)
class TextFolder:
  """One text encoder of a directory.

  Attributes:
    component: its folder.
    tokenizer: the folder of its tokenizer.
    kind: `CLIP`, `CLIP_PROJECTION` or `T5`.
    length: tokens of a text, both ends included.
    style: which layer is read, and how its texts are prepared.
  """

  component: str
  tokenizer: str
  kind: str
  length: int
  style: text_encoders.Style


@dataclasses.dataclass(frozen=True)
class Family:
  """What a directory's configuration files declare.

  Attributes:
    directory: where it lies.
    settings: `mmdist.json`; empty if there was none.
    denoiser: folder of the network, 'unet' or 'transformer'.
    denoiser_config: its config.json.
    texts: its text encoders, in the order of their folders.
    join: makes one embedding of the encoders' answers.
    empty_is_zero: whether the empty text is all zeros (SDXL).
    codec: one of `CODECS`.
    codec_factor: pixels per latent along an axis.
    image_size: pixels along an axis of the images it knows.
    schedule: its noise levels.
  """

  directory: pathlib.Path
  settings: Mapping[str, Any]
  denoiser: str
  denoiser_config: Mapping[str, Any]
  texts: tuple[TextFolder, ...]
  join: text_encoders.Join
  empty_is_zero: bool
  codec: str
  codec_factor: int
  image_size: int
  schedule: schedules.Schedule

  @property
  def components(self) -> tuple[str, ...]:
    """The folders that hold weights."""
    vae = ('vae',) if self.codec == 'vae' else ()
    return (self.denoiser, *(text.component for text in self.texts), *vae)


def read_family(directory: pathlib.Path) -> Family:
  """Reads every configuration file of a directory.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is missing,
      damaged, or not understood.
  """
  directory = pathlib.Path(directory)
  files.check_is_pipeline(directory)
  settings = files.read_settings(directory)
  schedule_config = files.read_json(
    directory / 'scheduler' / 'scheduler_config.json'
  )
  denoiser = 'unet' if (directory / 'unet').is_dir() else 'transformer'
  config = _read_denoiser(directory / denoiser / 'config.json')
  texts = _read_texts(directory, settings, denoiser, config)
  codec, factor, channels = _read_codec(directory, settings)
  size = settings.get('image_size', config['sample_size'] * factor)
  _check_fit(directory / denoiser / 'config.json', config, codec, channels)
  # Flux sees two latents along an axis as one.
  cell = factor * (2 if denoisers.is_packed(config) else 1)
  if size % cell:
    raise errors.UserError(
      f"{directory}: image_size {size} is no multiple of the image codec's "
      f'factor {cell}.'
    )
  return Family(
    directory=directory,
    settings=settings,
    denoiser=denoiser,
    denoiser_config=config,
    texts=texts,
    join=_choose_join(directory, config, texts),
    empty_is_zero=_is_empty_zero(directory, config),
    codec=codec,
    codec_factor=factor,
    image_size=size,
    # A transformer's tokens are 2 x 2 latents.
    schedule=schedules.schedule_from_config(
      schedule_config, (size // factor // 2) ** 2
    ),
  )


def check_chunks(family: Family, num_chunks: int) -> None:
  """Checks that a family's texts can be read in so many pieces.

  Raises:
    UserError: one of its encoders is a T5, which reads long texts whole.
  """
  long = [text.component for text in family.texts if text.kind == T5]
  if num_chunks > 1 and long:
    raise errors.UserError(
      f'prompt_chunks is {num_chunks}; expected 1, since {long[0]} of '
      f'{family.directory} is a T5, which reads long texts whole.'
    )


def _read_denoiser(path: pathlib.Path) -> dict[str, Any]:
  """Reads the network's config, with the defaults of its class."""
  config = files.read_json(path)
  name = config.get('_class_name')
  if name not in DENOISERS:
    raise errors.UserError(
      f'{path} declares {name}; expected one of {", ".join(DENOISERS)}.'
    )
  parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
  defaults = {
    key: parameter.default
    for key, parameter in parameters.items()
    if parameter.default is not inspect.Parameter.empty
  }
  config = {**defaults, **config}
  if name == _FLUX:
    config.setdefault('sample_size', _FLUX_LATENTS)
    config['out_channels'] = config['out_channels'] or config['in_channels']
  for field, known in (
    ('addition_embed_type', (None, 'text', 'text_time')),
    ('encoder_hid_dim_type', (None, 'text_proj')),
    ('class_embed_type', (None,)),
    ('num_class_embeds', (None,)),
    ('time_cond_proj_dim', (None,)),
  ):
    if config.get(field) not in known:
      raise errors.UserError(
        f'{path} asks for {field}={config[field]!r}, which is none of the '
        'conditions that a prior has: a text, and for SDXL the image size.'
      )
  if not isinstance(config['sample_size'], int):
    raise errors.UserError(
      f'{path} has sample_size={config["sample_size"]!r}; expected one number, '
      'since images are square.'
    )
  return config


def _read_texts(
  directory: pathlib.Path,
  settings: Mapping[str, Any],
  denoiser: str,
  network: Mapping[str, Any],
) -> tuple[TextFolder, ...]:
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
      'XL or 3, of DeepFloyd IF, Flux or PixArt (text_encoder/, '
      'text_encoder_2/, ...).'
    )
  return tuple(
    TextFolder(
      component,
      tokenizer,
      kind,
      _text_length(directory / tokenizer, kind, config, settings, network),
      style,
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
  if kind == T5:
    longest = _T5_TOKENS[network['_class_name']]
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


def _choose_join(
  directory: pathlib.Path,
  config: Mapping[str, Any],
  texts: Sequence[TextFolder],
) -> text_encoders.Join:
  if config['_class_name'] == _SD3:
    tokens = _T5_TOKENS[_SD3]
    return text_encoders.join_three(tokens, config['joint_attention_dim'])
  if config['_class_name'] == _FLUX:
    return text_encoders.join_flux
  if config['_class_name'] == _PIXART:
    return text_encoders.join_masked
  wants_size = config['addition_embed_type'] == 'text_time'
  if wants_size != (len(texts) == 2):
    raise errors.UserError(
      f'{directory / "unet" / "config.json"} has addition_embed_type='
      f'{config["addition_embed_type"]!r} and {len(texts)} text encoder(s); '
      "expected 'text_time' with two, as SDXL, or something else with one."
    )
  return text_encoders.join_two if wants_size else text_encoders.join_one


def _is_empty_zero(directory: pathlib.Path, config: Mapping[str, Any]) -> bool:
  if config.get('addition_embed_type') != 'text_time':
    return False
  path = directory / 'model_index.json'
  index = files.read_json(path) if path.is_file() else {}
  return bool(index.get('force_zeros_for_empty_prompt', True))


def _read_codec(
  directory: pathlib.Path, settings: Mapping[str, Any]
) -> tuple[str, int, int]:
  """Returns the image codec, its factor, and how many channels it makes."""
  latent = (directory / 'vae').is_dir()
  name = settings.get('image_codec', 'vae' if latent else 'identity')
  if name == 'identity':
    return name, 1, 3
  if name == 'pixel_unshuffle':
    factor = int(settings.get('factor', 2))
    return name, factor, 3 * factor**2
  if name != 'vae':
    raise errors.UserError(
      f'{directory / files.SETTINGS_FILE} has image_codec {name!r}; expected '
      f'one of {", ".join(CODECS)}.'
    )
  path = directory / 'vae' / 'config.json'
  config = files.read_json(path)
  if config.get('_class_name', 'AutoencoderKL') != 'AutoencoderKL':
    raise errors.UserError(
      f'{path} declares {config["_class_name"]}; expected AutoencoderKL.'
    )
  image_codec.read_scaling(config, path)
  factor = 2 ** (len(config.get('block_out_channels', (64,))) - 1)
  return name, factor, config.get('latent_channels', 4)


def _check_fit(
  path: pathlib.Path, config: Mapping[str, Any], codec: str, channels: int
) -> None:
  takes, gives = denoisers.latent_channels(config), config['out_channels']
  if denoisers.is_packed(config):
    gives //= 4
  if takes != channels:
    remedy = (
      'a model that paints into or over a given image is no prior'
      if codec == 'vae'
      else f'correct image_codec and factor in {files.SETTINGS_FILE}, or add '
      'the vae/ folder'
    )
    raise errors.UserError(
      f'{path}: the network takes {takes} channels, the image codec {codec} '
      f'makes {channels}; {remedy}.'
    )
  # Twice as many: DeepFloyd IF predicts a variance too, which is not used.
  if gives not in (takes, 2 * takes):
    raise errors.UserError(
      f'{path}: the network makes {gives} channels of {takes}; expected as '
      'many, or twice as many if it predicts a variance.'
    )
