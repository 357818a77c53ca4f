"""What a diffusers directory declares itself to be, before a weight is read.

The family of a prior is read from its configuration files; there is no setting
for it. Everything that opening a directory needs to know is read here, and what
is not understood is refused here, in one line that names the file.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import diffusers

from mmdist.core import errors
from mmdist.priors import chat_templates
from mmdist.priors import denoisers
from mmdist.priors import directory as files
from mmdist.priors import family_texts
from mmdist.priors import image_codec
from mmdist.priors import schedule as schedules
from mmdist.priors import signatures
from mmdist.priors import text_encoders

_FLUX, _AURAFLOW = 'FluxTransformer2DModel', 'AuraFlowTransformer2DModel'
_Z_IMAGE, _QWEN_IMAGE = chat_templates.Z_IMAGE, chat_templates.QWEN_IMAGE
# Fields of one class that ask for what no prior has, and what they may be.
_UNKNOWN = {
  # Sana Sprint, of another flow.
  chat_templates.SANA: (('guidance_embeds', (None, False)),),
  # Z-Image Omni, which is given images; others have no patches of 2 x 2.
  _Z_IMAGE: (
    ('siglip_feat_dim', (None,)),
    ('all_patch_size', ((2,), [2])),
    ('all_f_patch_size', ((1,), [1])),
  ),
  # Qwen-Image Edit and Layered, which are given images.
  _QWEN_IMAGE: (
    ('guidance_embeds', (False,)),
    ('zero_cond_t', (False,)),
    ('use_additional_t_cond', (False,)),
    ('use_layer3d_rope', (False,)),
  ),
}
# Latents along an axis of the images that pipelines of diffusers make whose
# network's config has no sample_size, or one that the pipeline does not ask.
_PIPELINE_LATENTS = 128
CODECS = ('pixel_unshuffle', 'identity', 'vae')


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
  texts: tuple[family_texts.TextFolder, ...]
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
  texts = family_texts.read_texts(directory, settings, config)
  codec, factor, channels = _read_codec(directory, settings)
  size = settings.get('image_size', config['sample_size'] * factor)
  _check_fit(directory / denoiser / 'config.json', config, codec, channels)
  _check_index(directory, config)
  _check_size(directory / denoiser / 'config.json', config, size // factor)
  cell = factor * denoisers.patch_size(config['_class_name'], config)
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
    join=family_texts.choose_join(directory, config, texts),
    empty_is_zero=_is_empty_zero(directory, config),
    codec=codec,
    codec_factor=factor,
    image_size=size,
    # A transformer's tokens are 2 x 2 latents.
    schedule=schedules.schedule_from_config(
      schedule_config, (size // factor // 2) ** 2
    ),
  )


def _read_denoiser(path: pathlib.Path) -> dict[str, Any]:
  """Reads the network's config, with the defaults of its class."""
  config = files.read_json(path)
  name = str(config.get('_class_name'))
  if name not in denoisers.NETWORKS:
    raise errors.UserError(
      f'{path} declares {name}; expected one of '
      f'{", ".join(denoisers.NETWORKS)}.'
    )
  config = {**signatures.defaults_of(getattr(diffusers, name)), **config}
  if name in (_FLUX, _Z_IMAGE, _QWEN_IMAGE):
    config.setdefault('sample_size', _PIPELINE_LATENTS)
    config['out_channels'] = config.get('out_channels') or config['in_channels']
  if name == _AURAFLOW:
    config['sample_size'] = min(_PIPELINE_LATENTS, _most_latents(config))
  for field, known in (
    ('addition_embed_type', (None, 'text', 'text_time')),
    ('encoder_hid_dim_type', (None, 'text_proj')),
    ('class_embed_type', (None,)),
    ('num_class_embeds', (None,)),
    ('time_cond_proj_dim', (None,)),
    *_UNKNOWN.get(name, ()),
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


def _check_index(directory: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Raises UserError if a network is of a pipeline that is given an image."""
  path = directory / 'model_index.json'
  if config['_class_name'] != _QWEN_IMAGE or not path.is_file():
    return
  name = str(files.read_json(path).get('_class_name'))
  if name.startswith(('QwenImageEdit', 'QwenImageLayered')):
    raise errors.UserError(
      f'{path} declares {name}, which is given an image; expected '
      'QwenImagePipeline.'
    )


def _most_latents(config: Mapping[str, Any]) -> int:
  """Returns along an axis how many latents have places of their own."""
  return int(config['pos_embed_max_size'] ** 0.5) * config['patch_size']


def _check_size(
  path: pathlib.Path, config: Mapping[str, Any], latents: int
) -> None:
  """Raises UserError if an AuraFlow has no places for so many latents."""
  if config['_class_name'] == _AURAFLOW and latents > _most_latents(config):
    raise errors.UserError(
      f'{path} has places for {_most_latents(config)} latents along an axis, '
      f'and images have {latents}; expected a smaller image_size in '
      f'{files.SETTINGS_FILE}.'
    )


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
  factor, channels = image_codec.read_vae(path, config)
  return name, factor, channels


def _check_fit(
  path: pathlib.Path, config: Mapping[str, Any], codec: str, channels: int
) -> None:
  name = config['_class_name']
  takes = denoisers.latent_channels(name, config)
  gives = denoisers.output_channels(name, config)
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
