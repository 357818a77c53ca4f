"""The two halves of a step, with or without something kept between them."""

from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import numpy as np

from mmdist.core import representation as representation_lib
from mmdist.learner import kept_chunks
from mmdist.learner import partly_kept
from mmdist.learner import passes

Kept = kept_chunks.Kept | partly_kept.PartlyKept
# Returns cameras, backgrounds and the key of a batch.
InputsOf = Callable[[Any], tuple[Any, ...]]
# Returns where a batch is in its step; None if it is the whole of it.
PlaceOf = Callable[[Any], passes.Place | None]


class _Halves:
  """Two compiled passes, as `jax.jit` returns them, and what both are given."""

  def __init__(
    self,
    render: Any,
    pull_back: Any,
    inputs_of: InputsOf,
    place_of: PlaceOf,
  ):
    self._render, self._pull_back = render, pull_back
    self._inputs_of, self._place_of = inputs_of, place_of

  def compile(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> None:
    """Compiles what can be before it is called."""

  def _place(self, batch: Any) -> tuple[passes.Place, ...]:
    place = self._place_of(batch)
    # A whole step is given no place: it runs the same program as ever.
    return () if place is None else (place,)


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
    place = self._place(batch)
    with futures.ThreadPoolExecutor(1) as pool:
      first = pool.submit(self._render.lower(params, *inputs, *place).compile)
      self._pull_back.lower(params, *inputs, cotangents, *place).compile()
      first.result()

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> passes.Images:
    images: passes.Images = self._render(
      params, *self._inputs_of(batch), *self._place(batch)
    )
    return images

  def pull_back(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> passes.VjpResult:
    return self._pull_back(
      params,
      *self._inputs_of(batch),
      cotangents,
      *self._place(batch),
    )


class RenderOnce(_Halves):
  """The two halves of a step; the first keeps what the second needs.

  Each part of a step is kept until it is pulled back. Where the second half is
  asked about other parameters or another batch than were rendered, which are
  told by their identity, it renders. Its passes are those of
  `kept_chunks.make_passes`.
  """

  def __init__(
    self,
    render: Callable[..., Any],
    pull_back: Callable[..., passes.VjpResult],
    inputs_of: InputsOf,
    place_of: PlaceOf,
  ):
    super().__init__(render, pull_back, inputs_of, place_of)
    # Parameters, batch, and what was kept of them.
    self._kept: list[tuple[representation_lib.Params, Any, Kept]] = []

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> passes.Images:
    images, kept = self._keep(params, batch)
    self._kept.append((params, batch, kept))
    return images

  def _keep(
    self, params: representation_lib.Params, batch: Any
  ) -> tuple[passes.Images, Kept]:
    # Of a step that was given up, parts are left. Their memory is free before
    # more is taken.
    if batch.first_view == 0:
      self._kept = []
    rendered: tuple[passes.Images, Kept] = self._render(
      params, *self._inputs_of(batch), *self._place(batch)
    )
    return rendered

  def pull_back(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> passes.VjpResult:
    kept = self._take(params, batch)
    if kept is None:
      _, kept = self._keep(params, batch)
    return self._pull_back(kept, cotangents, *self._place(batch))

  def _take(self, params: representation_lib.Params, batch: Any) -> Kept | None:
    """Hands over what was kept of a batch, if anything was."""
    for index, (its_params, its_batch, kept) in enumerate(self._kept):
      if its_params is params and its_batch is batch:
        del self._kept[index]
        return kept
    return None


class RenderPartlyOnce(RenderOnce):
  """As `RenderOnce`, of which the first half keeps some of what is needed."""

  def __init__(
    self,
    partial: partly_kept.PartialPasses,
    inputs_of: InputsOf,
    place_of: PlaceOf,
  ):
    super().__init__(partial.render, partial.pull_back, inputs_of, place_of)
    self._partial = partial

  def compile(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> None:
    inputs = self._inputs_of(batch)
    self._partial.compile(params, inputs, cotangents, *self._place(batch))


Halves = RenderTwice | RenderOnce
