"""The two halves of a step, and what is kept between them."""

from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import numpy as np

from mmdist.core import representation as representation_lib
from mmdist.learner import dealing
from mmdist.learner import kept_chunks
from mmdist.learner import partly_kept
from mmdist.learner import passes

Kept = kept_chunks.Kept | partly_kept.PartlyKept
# Returns cameras, backgrounds and the key of a batch.
InputsOf = Callable[[Any], tuple[Any, ...]]
# Returns where a batch is in its step; None if it is the whole of it.
PlaceOf = Callable[[Any], dealing.Place | None]


class _Remembered:
  """What is kept of renders until they are pulled back, each by its identity.

  Of a step that was given up, parts are left: the next step forgets them.
  """

  def __init__(self) -> None:
    self._kept: list[tuple[representation_lib.Params, Any, Any]] = []

  def begin(self, batch: Any) -> None:
    """Forgets what is left of another step, before more is taken."""
    if batch.first_view == 0:
      self._kept = []

  def keep(
    self, params: representation_lib.Params, batch: Any, kept: Any
  ) -> None:
    self._kept.append((params, batch, kept))

  def find(self, params: representation_lib.Params, batch: Any) -> Any:
    """Returns what was kept of a batch; None if nothing was."""
    for its_params, its_batch, kept in self._kept:
      if its_params is params and its_batch is batch:
        return kept
    return None

  def take(self, params: representation_lib.Params, batch: Any) -> Any:
    """Hands over what was kept of a batch, and forgets it."""
    kept = self.find(params, batch)
    self._kept = [one for one in self._kept if one[-1] is not kept]
    return kept


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
    self._remembered = _Remembered()

  def compile(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> None:
    """Compiles what can be before it is called."""

  def _place(self, batch: Any) -> tuple[dealing.Place, ...]:
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
    seen = self._would_see(cotangents)
    with futures.ThreadPoolExecutor(1) as pool:
      first = pool.submit(self._render.lower(params, *inputs, *place).compile)
      second = self._pull_back.lower(
        params, *inputs, cotangents, *place, **seen
      )
      second.compile()
      first.result()

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> dealing.Images:
    images: dealing.Images = self._render(
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
      **self._seen(params, batch),
    )

  def _would_see(
    self, cotangents: Mapping[str, np.ndarray]
  ) -> dict[str, np.ndarray]:
    """Returns what `_seen` will, in its shapes."""
    return {}

  def _seen(
    self, params: representation_lib.Params, batch: Any
  ) -> dict[str, np.ndarray]:
    """Returns what the second pass is told of the first."""
    return {}


class RenderSeen(RenderTwice):
  """As `RenderTwice`, with opacities kept between the halves.

  The second pass leaves out rays that the first has seen to show nothing. Asked
  about other parameters or another batch than were rendered, it computes all.
  """

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> dealing.Images:
    self._remembered.begin(batch)
    images = super().render(params, batch)
    self._remembered.keep(params, batch, images[2])
    return images

  def _would_see(
    self, cotangents: Mapping[str, np.ndarray]
  ) -> dict[str, np.ndarray]:
    shape = next(iter(cotangents.values())).shape[:-1]
    return {'acc': np.zeros(shape, np.float32)}

  def _seen(
    self, params: representation_lib.Params, batch: Any
  ) -> dict[str, np.ndarray]:
    acc = self._remembered.find(params, batch)
    # Read from its devices: it lies on these in a way of its own, for which the
    # pass would be compiled again.
    return {} if acc is None else {'acc': np.asarray(acc)}


class RenderOnce(_Halves):
  """The two halves of a step; the first keeps what the second needs.

  Each part of a step is kept until it is pulled back. Where the second half is
  asked about other parameters or another batch than were rendered, which are
  told by their identity, it renders. Its passes are those of
  `kept_chunks.make_passes`.
  """

  def render(
    self, params: representation_lib.Params, batch: Any
  ) -> dealing.Images:
    images, kept = self._keep(params, batch)
    self._remembered.keep(params, batch, kept)
    return images

  def _keep(
    self, params: representation_lib.Params, batch: Any
  ) -> tuple[dealing.Images, Kept]:
    # Their memory is free before more is taken.
    self._remembered.begin(batch)
    rendered: tuple[dealing.Images, Kept] = self._render(
      params, *self._inputs_of(batch), *self._place(batch)
    )
    return rendered

  def pull_back(
    self,
    params: representation_lib.Params,
    batch: Any,
    cotangents: Mapping[str, np.ndarray],
  ) -> passes.VjpResult:
    kept = self._remembered.take(params, batch)
    if kept is None:
      _, kept = self._keep(params, batch)
    return self._pull_back(kept, cotangents, *self._place(batch))


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
