"""The two halves of a step, with or without something kept between them."""

from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import numpy as np

from mmdist.core import representation as representation_lib
from mmdist.learner import passes

# Returns cameras, backgrounds and the key of a batch.
InputsOf = Callable[[Any], tuple[Any, ...]]


class _Halves:
  """Two compiled passes, as `jax.jit` returns them, and what both are given."""

  def __init__(
    self,
    render: Any,
    pull_back: Any,
    inputs_of: InputsOf,
  ):
    self._render, self._pull_back = render, pull_back
    self._inputs_of = inputs_of

  def compile(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> None:
    """Compiles what can be before it is called."""


class RenderTwice(_Halves):
  """The two halves of a step, with nothing kept between them.

  Its passes are those of `passes.make_render` and `passes.make_vjp`.
  """

  def compile(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> None:
    """Compiles both passes at the same time; calls then find them compiled."""
    inputs = self._inputs_of(batch)
    with futures.ThreadPoolExecutor(1) as pool:
      first = pool.submit(self._render.lower(params, *inputs).compile)
      self._pull_back.lower(params, *inputs, cotangents).compile()
      first.result()

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> passes.Images:
    images: passes.Images = self._render(params, *self._inputs_of(batch))
    return images

  def pull_back(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> passes.VjpResult:
    return self._pull_back(params, *self._inputs_of(batch), cotangents)


class RenderOnce(_Halves):
  """The two halves of a step; the first keeps what the second needs.

  Where the second is asked about other parameters or another batch than the
  first was, which are told by their identity, it renders. Its passes are those
  of `passes.make_keeping_passes`.
  """

  _kept: passes.Kept | None = None
  _of: tuple[Any, ...] = ()

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> passes.Images:
    self._kept = None  # Its memory is free before more is taken.
    images: passes.Images
    images, self._kept = self._render(params, *self._inputs_of(batch))
    self._of = params, batch
    return images

  def pull_back(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> passes.VjpResult:
    of = self._of
    if self._kept is None or of[0] is not params or of[1] is not batch:
      self.render(params, batch)
    kept, self._kept, self._of = self._kept, None, ()
    return self._pull_back(kept, cotangents)
