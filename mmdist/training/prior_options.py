"""What `mmdist train_prior` is told, and what is wrong with it.

Nothing here imports torch, but for the look whether it finds a GPU.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import options as options_lib

if TYPE_CHECKING:
  from mmdist.heads import worlds

DEVICES = ('cpu', 'cuda')
WIDTHS = (48, 96, 160)
_IMAGE_SIZE = 64  # Pixels of an edge, of the shards.
# Each resolution halves the last one, from 32 latents along an axis.
_MOST_WIDTHS = 6


@dataclasses.dataclass(frozen=True)
class Options:
  """What a prior learns from, how, and where it goes."""

  data: str = options_lib.option(
    options_lib.REQUIRED, 'Folder of head shards.', is_path=True
  )
  out: str = options_lib.option(
    options_lib.REQUIRED, 'Diffusers directory.', is_path=True
  )
  channel: str = options_lib.option(
    'rgb', 'Which pictures.', choices=messages.CHANNELS
  )
  init: str = options_lib.option(
    '',
    'Prior to start from: directory or name. One of another world learns the '
    'words of this one first.',
    is_path=True,
  )
  num_images: int = options_lib.option(
    750_000, 'Pictures to see in all.', minimum=1
  )
  batch_size: int = options_lib.option(
    16, 'Pictures per step and process.', minimum=1
  )
  num_processes: int = options_lib.option(2, 'One-thread processes.', minimum=1)
  learning_rate: float = options_lib.option(
    5e-4, 'Peak of AdamW; Muon follows.', minimum=0.0
  )
  optimizer: str = options_lib.option(
    'muon',
    'Of the matrices; on a GPU all weights are moved by adamw.',
    choices=('muon', 'adamw'),
  )
  reading_steps: int = options_lib.option(
    1500,
    'Steps of the text encoder, before any picture, where there are words to '
    'learn.',
    minimum=0,
  )
  seed: int = options_lib.option(0, 'Decides weights, noise and captions.')
  max_minutes: float = options_lib.option(
    0.0,
    'Stop after so many minutes; the same command goes on. 0: never.',
    minimum=0.0,
  )
  device: str = options_lib.option(
    'cpu', 'Where it is trained; cuda: by one process.', choices=DEVICES
  )
  widths: tuple[int, ...] = options_lib.option(
    WIDTHS, 'Channels per resolution, finest first; multiples of 16.'
  )
  attention: tuple[int, ...] = options_lib.option(
    (),
    'Resolutions that attend to the text, 0 the finest; empty: the coarsest.',
  )
  layers_per_block: int = options_lib.option(
    1, 'Residual blocks per resolution.', minimum=1
  )
  patch: int = options_lib.option(
    2, 'Pixels of an edge that the finest resolution takes as one.', minimum=1
  )
  prediction: str = options_lib.option(
    'sample',
    'What the network predicts: the image, or v.',
    choices=('sample', 'v_prediction'),
  )
  held_out: str = options_lib.option(
    '',
    'Folder of shards that are not trained on, to see how well they are '
    'denoised.',
    is_path=True,
  )
  held_out_minutes: float = options_lib.option(
    5.0,
    'Minutes between looks at held_out; 0: only at the end.',
    minimum=0.0,
  )


def architecture(options: Options) -> dict[str, Any]:
  """Returns the fields of `embedded.Architecture` that are asked for."""
  levels = range(len(options.widths))
  attending = options.attention or levels[-1:]
  return {
    'widths': options.widths,
    'attention': tuple(level in attending for level in levels),
    'layers_per_block': options.layers_per_block,
    'patch': options.patch,
    'prediction': options.prediction,
  }


def checked(options: Options) -> Options:
  """Raises, before any process starts, if options or files are wrong."""
  from mmdist.heads import shards as head_shards

  options = options_lib.checked(options)
  world = head_shards.world_of(pathlib.Path(options.data))
  if options.held_out:
    others = head_shards.world_of(pathlib.Path(options.held_out))
    _check_world(world, others, 'held_out', options.held_out)
  if options.init:
    asset_paths.resolve(options.init)  # Raises if there is no such prior.
  _check_architecture(options)
  if options.device == 'cuda':
    _check_cuda(options)
  return options


def _check_world(
  world: 'worlds.World', other: 'worlds.World | None', field: str, value: str
) -> None:
  """Raises UserError if something is of another world than the shards."""
  if other and other != world:
    raise errors.UserError(
      f"{field} {value} is of the world '{other.name}', and the shards of data "
      f"are of '{world.name}'; give one of the same world."
    )


def _check_architecture(options: Options) -> None:
  """Raises UserError if no network can be made of these sizes."""
  widths, levels = options.widths, range(len(options.widths))
  if options.init and architecture(options) != architecture(Options('', '')):
    raise errors.UserError(
      'widths, attention, layers_per_block, patch and prediction are of a '
      f'prior from nothing, and init is {options.init}; leave one or the other '
      'out.'
    )
  if not 1 <= len(widths) <= _MOST_WIDTHS or any(
    width < 16 or width % 16 for width in widths
  ):
    raise errors.UserError(
      f'widths is {",".join(map(str, widths))}; expected one to '
      f'{_MOST_WIDTHS} multiples of 16, such as 48,96,160.'
    )
  edge = options.patch * 2 ** (len(widths) - 1)
  if _IMAGE_SIZE % edge:
    raise errors.UserError(
      f'patch is {options.patch}, and {len(widths)} widths halve the picture '
      f'{len(widths) - 1} times; expected a patch of which {_IMAGE_SIZE} '
      f'pixels hold a multiple of {2 ** (len(widths) - 1)}, such as 2.'
    )
  if not set(options.attention) <= set(levels):
    raise errors.UserError(
      f'attention is {",".join(map(str, options.attention))}; expected '
      f'resolutions from 0, the finest, to {levels[-1]}.'
    )


def _check_cuda(options: Options) -> None:
  """Raises UserError if there is no GPU to train on, or several would share."""
  if options.num_processes > 1:
    raise errors.UserError(
      f'device is cuda and num_processes is {options.num_processes}; one '
      'process drives the GPU, so give --num_processes=1.'
    )
  from mmdist.priors.training import device_training

  if not device_training.has_gpu():
    raise errors.UserError(
      'device is cuda and torch finds no CUDA device; give --device=cpu, or '
      'install a torch for CUDA on a machine that has one.'
    )
