"""The conditional NeRF for tests, its functions compiled as wholes."""

import dataclasses
import functools

import jax

from mmdist.config import schema
from mmdist.nerf import field
from tests.core import compiling


def conditional_nerf(config):
  """Returns `field.conditional_nerf`, the same one for the same config."""
  return _make_once(dataclasses.astuple(config))


def init(config):
  """Returns parameters, in dictionaries that a test may change."""
  params = _init_once(dataclasses.astuple(config))
  return jax.tree.map(lambda leaf: leaf, params)


@functools.cache
def _make_once(values):
  representation = field.conditional_nerf(schema.NerfConfig(*values))
  return field.ConditionalNerf(
    init=compiling.compiled(representation.init),
    render=compiling.compiled(
      representation.render, static_argnames='with_normals'
    ),
    density=compiling.compiled(representation.density),
  )


@functools.cache
def _init_once(values):
  return _make_once(values).init(jax.random.key(0))
