"""Pixels of photographs and where they were taken: what pretraining reads."""

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
