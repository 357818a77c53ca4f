"""What a learner will need in memory, counted before anything is computed."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import representation as representation_lib
from mmdist.learner import kept_chunks

# Trees of the size of the parameters that a step has on each device: the
# parameters and Adam's two moments before it and after it; these may be split
# over the devices. And the sum of the gradients, and the gradient of one chunk;
# where parameters are split, they are put together beside these.
_TREES_OF_STATES = 6
_TREES_OF_GRADIENTS = 2
# And in a snapshot, from which a step that is rejected is taken again.
_TREES_IN_SNAPSHOT = 3
# Numbers of one ray, by the fields of `arrays.Rays`.
_RAY: Mapping[str, int] = {
  'origins': 3,
  'directions': 3,
  'viewdirs': 3,
  'radii': 1,
  'near': 1,
  'far': 1,
  'background': 3,
}
# And of one pixel beside its ray: two pictures, their cotangents, an opacity.
_PIXEL = 13


@dataclasses.dataclass(frozen=True)
class LearnerMemory:
  """The arrays of a learner, in bytes; its programs are not among them.

  Attributes:
    parameters: one tree of parameters.
    activations: what the backward pass of a device keeps of the forward pass:
      of the chunk of rays that is taken back; and, without `learner.remat` or
      with `learner.num_kept_chunks`, what the render keeps of its chunks.
    pixels: the rays, renders and cotangents of a step.
    num_devices: of this machine, each of which holds all of these.
    num_shards: in how many parts the parameters are split.
    num_kept_chunks: `learner.num_kept_chunks`.
    kept_chunk: the bytes of `activations` that one of them takes, in all parts
      of a step.
  """

  parameters: int
  activations: int
  pixels: int
  num_devices: int = 1
  num_shards: int = 1
  num_kept_chunks: int = 0
  kept_chunk: int = 0

  @property
  def on_device(self) -> int:
    """The bytes on each device."""
    trees = _TREES_OF_GRADIENTS + (self.num_shards > 1)
    states = -(-_TREES_OF_STATES * self.parameters // self.num_shards)
    return trees * self.parameters + states + self.activations + self.pixels

  @property
  def on_machine(self) -> int:
    """The bytes of one whose devices are cores of a machine."""
    snapshot = _TREES_IN_SNAPSHOT * self.parameters
    return self.num_devices * self.on_device + snapshot

  @property
  def kept_on_device(self) -> tuple[int, int]:
    """How many chunks are kept, and the bytes of each of them on a device."""
    return self.num_kept_chunks, self.kept_chunk

  @property
  def kept_on_machine(self) -> tuple[int, int]:
    """How many chunks are kept, and the bytes of each on all devices."""
    return self.num_kept_chunks, self.num_devices * self.kept_chunk


def estimate(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run: schema.RunConfig,
  num_devices: int,
  with_normals: bool = True,
) -> LearnerMemory:
  """Counts what a step will hold; traces one chunk, and computes nothing.

  What XLA reserves for the backward pass of the embedded field is 0.75 to 0.95
  of what is counted (tests/learner/learner_memory_test.py).

  Args:
    representation: what is optimised.
    params: arrays, or their shapes.
    run: `views` and `learner` are read.
    num_devices: over which the chunks are dealt, those of all hosts.
    with_normals: whether a prior looks at normals.
  """
  shapes = jax.tree.map(lambda leaf: _floats(*np.shape(leaf)), params)
  chunk_size = run.learner.chunk_size
  num_pixels = run.views.num_views * run.views.resolution**2
  num_chunks = math.ceil(num_pixels / (chunk_size * num_devices))
  render = functools.partial(representation.render, with_normals=with_normals)
  learner = run.learner
  # Of the chunk that is taken back everything is there, once it was computed
  # again.
  activations, kept_chunk = _of_chunk(render, shapes, chunk_size), 0
  if learner.num_kept_chunks or not learner.remat:
    little = kept_chunks.keeping_little(representation, render)
    kept_chunk = _of_chunk(little, shapes, chunk_size)
  if not learner.remat:
    activations += num_chunks * kept_chunk
  elif learner.num_kept_chunks:
    kept_chunk *= run.views.micro_batches
    activations += learner.num_kept_chunks * kept_chunk
  numbers_per_pixel = sum(_RAY.values()) + _PIXEL
  return LearnerMemory(
    parameters=_bytes(shapes),
    activations=activations,
    pixels=4 * numbers_per_pixel * num_chunks * chunk_size,
    num_devices=max(num_devices // run.learner.num_hosts, 1),
    num_shards=run.learner.num_shards,
    num_kept_chunks=learner.num_kept_chunks,
    kept_chunk=kept_chunk,
  )


def _of_chunk(
  render: Callable[..., Any], params: representation_lib.Params, chunk_size: int
) -> int:
  """Returns the bytes that the backward pass of a render of a chunk keeps."""
  fields: dict[str, Any] = {
    name: _floats(chunk_size, count) for name, count in _RAY.items()
  }
  key = jax.eval_shape(lambda: jax.random.key(0))

  def backward(
    params: representation_lib.Params, rays: arrays.Rays, key: jax.Array
  ) -> Callable[..., Any]:
    return jax.vjp(lambda moved: render(moved, rays, key), params)[1]

  # What the backward function closes over is what it keeps.
  return _bytes(jax.eval_shape(backward, params, arrays.Rays(**fields), key))


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _bytes(tree: Any) -> int:
  return sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
