"""What a 3D representation has to offer to be optimised.

The conditional NeRF of `mmdist.nerf.field` is one; any object with these
functions can be passed to `mmdist.optimize` in its place.
"""

from typing import Any, Protocol

import jax

from mmdist.core import arrays

# A pytree of float32 arrays, of whatever structure a representation gives it.
Params = Any


class Render(Protocol):
  """The type of `Representation.render`, as a function of its own."""

  def __call__(
    self,
    params: Params,
    rays: arrays.Rays,
    key: jax.Array | None,
    /,
    *,
    with_normals: bool = True,
  ) -> arrays.Renders: ...


class Representation(Protocol):
  """A 3D representation: three pure functions of a pytree of parameters.

  The parameters are float32 arrays. Those below a top-level key 'code' are
  the latent code, which moves at a rate of its own; there need not be any.

  It may have more, which a learner uses where it is there: `draw(key, N)`, all
  random numbers of a render of N rays as a tuple of [N, ...], which `render` is
  then given for its key; with that, `blurred_density(params, points, spread)`,
  the [N] densities that Gaussians around points [N, 3] see, by which rays that
  meet nothing are left out; `with_compute` and `checkpoint_policy`, which are
  described at `nerf.field.ConditionalNerf`.
  """

  def init(self, key: jax.Array, /) -> Params:
    """Returns the parameters that a run starts from if it is given none."""

  def render(
    self,
    params: Params,
    rays: arrays.Rays,
    key: jax.Array | None,
    /,
    *,
    with_normals: bool = True,
  ) -> arrays.Renders:
    """Renders flat rays [N]; differentiable in `params`.

    Args:
      params: the parameters.
      rays: N rays.
      key: jitters the samples; None renders the same picture every time.
      with_normals: static; without them the normals may be mid-grey.
    """

  def density(self, params: Params, points: jax.Array, /) -> jax.Array:
    """Returns [N] densities per world unit at points [N, 3], for meshes."""
