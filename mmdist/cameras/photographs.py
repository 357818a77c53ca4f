"""Pixels of photographs and where they were taken: what pretraining reads.

Pixels come as they are (`PixelBatch`), or as numbers of pixels (`PixelDraws`)
of pictures that lie on the device (`Photographs`). Both are the same bits; what
a compiled function computes of them may differ in its last ones.
"""

from flax import struct
import jax
import jax.numpy as jnp

from mmdist.cameras import camera as camera_lib
from mmdist.core import arrays


@struct.dataclass
class PixelBatch:
  """Pixels from the pictures of many subjects, with any leading axes [...].

  Attributes:
    subject: [...] int32 number of the subject.
    camera_to_world: [..., 3, 4] pose of the camera.
    tan_half_fov: [...] of the camera.
    coordinates: [..., 2] x to the right and y up, in units of `tan_half_fov`:
      -1 to 1 for an ideal lens.
    rgba: [..., 4] in [0, 1], premultiplied by alpha.
    background: [..., 3] colour to put behind the subject, in [0, 1].
    resolution: pixels across a picture, which `tan_half_fov` spans.
  """

  subject: arrays.Array
  camera_to_world: arrays.Array
  tan_half_fov: arrays.Array
  coordinates: arrays.Array
  rgba: arrays.Array
  background: arrays.Array
  resolution: int = struct.field(pytree_node=False)

  def rays(self) -> arrays.Rays:
    """Returns the pixels' rays [...]."""
    return camera_lib.pixel_rays(
      camera_lib.Camera(self.camera_to_world, self.tan_half_fov),
      jnp.asarray(self.coordinates),
      self.resolution,
      self.background,
    )

  def rgb(self) -> arrays.Array:
    """Returns [..., 3] what a camera would have seen over the background."""
    return self.rgba[..., :3] + (1 - self.rgba[..., 3:]) * self.background

  def cut(self, num_chunks: int) -> 'PixelBatch':
    """Reshapes [N] pixels to [num_chunks, N / num_chunks]."""
    return jax.tree.map(
      lambda leaf: leaf.reshape((num_chunks, -1) + leaf.shape[1:]), self
    )


@struct.dataclass
class PixelDraws:
  """Which pixels are meant, with any leading axes [...].

  Attributes:
    subject, camera, row, column: [...] int32 numbers; a row is counted from the
      top, a column from the left.
    grey: [...] float32 to put behind the subject, in [0, 1].
    coordinates: [..., 2] see `PixelBatch`; None for ideal lenses, whose
      coordinates follow from row and column.
  """

  subject: arrays.Array
  camera: arrays.Array
  row: arrays.Array
  column: arrays.Array
  grey: arrays.Array
  coordinates: arrays.Array | None = None

  def cut(self, num_chunks: int) -> 'PixelDraws':
    """Reshapes [N] pixels to [num_chunks, N / num_chunks]."""
    return jax.tree.map(
      lambda leaf: leaf.reshape((num_chunks, -1) + leaf.shape[1:]), self
    )


@struct.dataclass
class Photographs:
  """The pictures of a set, where they can be read by a compiled function.

  Attributes:
    images: [M, K, H, W, 4] uint8, see `mmdist.data.multiview.MultiviewSet`.
    camera_to_world: [M, K, 3, 4].
    tan_half_fov: [M, K].
    levels: [256] float32 what each value of a byte stands for.
    axes: [W, 2] float32 coordinates with an ideal lens: x of each column, y of
      each row; None where draws have coordinates.
  """

  images: arrays.Array
  camera_to_world: arrays.Array
  tan_half_fov: arrays.Array
  levels: arrays.Array
  axes: arrays.Array | None

  def read(self, draws: PixelDraws) -> PixelBatch:
    """Returns the pixels that are meant; to be called under `jax.jit`."""
    picture = draws.subject, draws.camera
    # Looked up, because XLA would multiply by 1 / 255, which is not the same.
    rgba = self.levels[self.images[(*picture, draws.row, draws.column)]]
    alpha = rgba[..., 3:]
    if draws.coordinates is not None:
      coordinates = draws.coordinates
    elif self.axes is not None:
      x, y = self.axes[draws.column, 0], self.axes[draws.row, 1]
      coordinates = jnp.stack([x, y], -1)
    else:
      raise TypeError('draws from pictures with lenses need coordinates')
    return PixelBatch(
      subject=draws.subject,
      camera_to_world=self.camera_to_world[picture],
      tan_half_fov=self.tan_half_fov[picture],
      coordinates=coordinates,
      rgba=jnp.concatenate([rgba[..., :3] * alpha, alpha], -1),
      background=jnp.repeat(draws.grey[..., None], 3, -1),
      resolution=self.images.shape[3],
    )
