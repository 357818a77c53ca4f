"""The NeRF that the code under test makes for itself, compiled once.

Op by op, its first weights alone are dozens of programs to compile, and ten
seconds; as a whole they are one.
"""

import contextlib
import dataclasses
import functools
from unittest import mock

import jax

from mmdist.config import schema
from mmdist.nerf import field

_conditional_nerf = field.conditional_nerf


@contextlib.contextmanager
def quick():
  """Makes `field.conditional_nerf` quick to start.

  It returns the same functions for the same configuration, so that what is
  compiled for one test is there for the next.
  """
  with mock.patch.object(field, 'conditional_nerf', conditional_nerf):
    yield


def conditional_nerf(config):
  """Returns `field.conditional_nerf` with an `init` that is compiled."""
  return _make_once(dataclasses.astuple(config))


@functools.cache
def _make_once(values):
  representation = _conditional_nerf(schema.NerfConfig(*values))
  return dataclasses.replace(representation, init=jax.jit(representation.init))
