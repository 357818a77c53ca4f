"""The arrays that rooms hand to each other, and the letters of their shapes.

V views, H W pixels, N rays, S samples along a ray, C latent-code size.
"""

from flax import struct
import jax
import numpy as np

# An array on a device, or traced inside a compiled function; or one of numpy.
Array = jax.Array | np.ndarray


@struct.dataclass
class Rays:
  """A batch of rays with any leading axes [...].

  Attributes:
    origins: [..., 3] world.
    directions: [..., 3] unit length, so distances along a ray are world units.
    viewdirs: [..., 3] unit view directions, the encoding's input.
    radii: [..., 1] pixel radius at distance 1 (mip-NeRF cone).
    near: [..., 1] first distance along the ray.
    far: [..., 1] last distance along the ray.
    background: [..., 3] colour in [0, 1] behind the head.
  """

  origins: jax.Array
  directions: jax.Array
  viewdirs: jax.Array
  radii: jax.Array
  near: jax.Array
  far: jax.Array
  background: jax.Array


@struct.dataclass
class Renders:
  """What a 3D representation shows for a batch of rays [...].

  Attributes:
    rgb: [..., 3] in [0, 1], over the ray's background.
    normals: [..., 3] world normals coloured (n + 1) / 2, over mid-grey 0.5;
      mid-grey everywhere if they were not asked for.
    acc: [...] accumulated opacity in [0, 1].
    depth: [...] expected distance along the ray, world units.
    regularizer: [...] the representation's own training loss per ray (for the
      conditional NeRF: the interlevel loss of its proposals).
  """

  rgb: jax.Array
  normals: jax.Array
  acc: jax.Array
  depth: jax.Array
  regularizer: jax.Array
