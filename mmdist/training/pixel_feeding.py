"""How pixels of a pretraining come to its devices.

On a CPU every batch brings its pixels. A GPU that has room for the pictures
holds all of them, and is sent the numbers of pixels: a fifth of the bytes, and
a fraction of the work of the CPU that draws them.
"""

import jax

from mmdist.cameras import photographs
from mmdist.core import device_mesh
from mmdist.core import errors
from mmdist.core import progress
from mmdist.data import multiview
from mmdist.data import pixel_stream
from mmdist.learner import pretrain as pretrain_lib

# Of a GPU's memory that pictures may take.
_SHARE_OF_PICTURES = 0.4
# Threads that draw batches while a GPU computes, which is faster than one of
# them. On a CPU they would take cores from the step.
_NUM_THREADS = 4


def make_stream(
  config: pretrain_lib.PretrainConfig,
  pictures: multiview.MultiviewSet,
  draws_only: bool = False,
) -> pixel_stream.PixelStream:
  """Returns the batches of a set, without its held-out pictures."""
  return pixel_stream.PixelStream(
    pictures,
    config.batch_size,
    config.seed,
    config.background,
    pictures.is_trained(),
    draws_only,
    1 if jax.default_backend() == 'cpu' else _NUM_THREADS,
  )


def place_pictures(
  config: pretrain_lib.PretrainConfig,
  pictures: multiview.MultiviewSet,
  layout: device_mesh.Layout,
) -> photographs.Photographs | None:
  """Puts pictures on every device, where the configuration says so.

  Returns:
    The pictures; None: batches bring their pixels.

  Raises:
    UserError: they are to lie on a device that has no room for them.
  """
  if config.pixels == 'host':
    return None
  is_asked = config.pixels == 'device'
  stats = jax.local_devices()[0].memory_stats() or {}
  there = stats.get('bytes_limit', 0)
  has_room = pictures.images.nbytes <= _SHARE_OF_PICTURES * there
  if not is_asked and (layout.platform == 'cpu' or not has_room):
    return None
  if there and not has_room:
    taken = progress.format_bytes(pictures.images.nbytes)
    raise errors.UserError(
      f"pixels is device, and the pictures take {taken} of the device's "
      f'{progress.format_bytes(there)}; expected at most '
      f'{_SHARE_OF_PICTURES:.0%}; give --config.pixels=host.'
    )
  return layout.replicate(pixel_stream.photographs_of(pictures))
