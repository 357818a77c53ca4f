"""The learner's two halves of a step: render, and take the answer back.

`make_learner` turns any 3D representation (`init`, `render`) into functions of
a `TrainState`. Rays go through in chunks, dealt out over the devices. Nothing
is kept between the halves, unless `learner.remat` is off or
`learner.num_kept_chunks` says so: the second renders again, with the same
jitter, and takes the summed cotangent back through the render (docs/method.md,
section 1). Both halves work on a part of a step's views as on all of them; the
parts' gradients add up to one update.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.config import validation
from mmdist.core import device_mesh
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.core import seeds
from mmdist.learner import dealing
from mmdist.learner import halves as halves_lib
from mmdist.learner import kept_chunks
from mmdist.learner import optimizer as optimizer_lib
from mmdist.learner import partly_kept
from mmdist.learner import passes
from mmdist.learner import step_numbers
from mmdist.learner import step_parts


@struct.dataclass
class TrainState:
  """What an optimisation changes.

  Attributes:
    step: [] int32 updates behind it.
    params: the representation's parameters.
    opt_state: the optimiser's.
    rejected: [] int32 how many of those steps were left out and changed
      nothing.
  """

  step: jax.Array
  params: representation_lib.Params
  opt_state: optax.OptState
  rejected: jax.Array = struct.field(default_factory=lambda: jnp.int32(0))


@dataclasses.dataclass(frozen=True)
class ViewBatch:
  """What one step looks at, or a part; all of it follows from (seed, step).

  Attributes:
    seed: the run's.
    step: the step it belongs to.
    views: V views.
    backgrounds: [V, 3] float32 greys in [0, 1].
    first_view: number of its first view in the step, from 0.
    num_views: of the step; 0: these are all of them.
  """

  seed: int
  step: int
  views: orbits.Views
  backgrounds: np.ndarray
  first_view: int = 0
  num_views: int = 0


@dataclasses.dataclass(frozen=True)
class ViewRenders:
  """What the priors are shown, as numpy float32.

  Attributes:
    rgb: [V, H, W, 3] in [0, 1].
    normals: [V, H, W, 3] coloured world normals; mid-grey if not rendered.
    acc: [V, H, W] accumulated opacity in [0, 1].
  """

  rgb: np.ndarray
  normals: np.ndarray
  acc: np.ndarray


@dataclasses.dataclass(frozen=True)
class Learner:
  """The functions of one run, made by `make_learner`.

  Attributes:
    init: params -> TrainState at step 0.
    warm_up: params -> None; compiles those below.
    render_views: (state, batch) -> ViewRenders.
    pull_back: (state, batch, {channel: [V, H, W, 3]}) -> Pulled. The cotangents
      are of the loss of the whole step. Does not wait for the gradient. Raises
      UserError for a cotangent of the wrong shape or channel, NotFinite for one
      that is not finite.
    add: (Pulled of the parts before, of the next part) -> Pulled of both.
    update: (state, Pulled) -> (state, statistics), of all parts of a step.
      Raises NotFinite for a gradient that is not finite.
    apply_cotangents: (state, batch, {channel: [V, H, W, 3]}) -> (state,
      statistics); both of them, for a step in one part.
    skip: state -> state after a step that changed nothing.
    place: a state that was collected, or read from a checkpoint -> the state
      where it is computed with.
    collect: state -> the same one as this process can read and keep it.
    params_of: state -> its parameters, on devices of this process.
    checked: (batch, cotangents) -> one for each channel, zeros where none was
      given; raises as `apply_cotangents` does.
  """

  init: Callable[[representation_lib.Params], TrainState]
  warm_up: Callable[[representation_lib.Params], None]
  render_views: Callable[[TrainState, ViewBatch], ViewRenders]
  pull_back: Callable[
    [TrainState, ViewBatch, Mapping[str, np.ndarray]], step_parts.Pulled
  ]
  add: Callable[[step_parts.Pulled, step_parts.Pulled], step_parts.Pulled]
  update: Callable[
    [TrainState, step_parts.Pulled], tuple[TrainState, dict[str, float]]
  ]
  apply_cotangents: Callable[
    [TrainState, ViewBatch, Mapping[str, np.ndarray]],
    tuple[TrainState, dict[str, float]],
  ]
  skip: Callable[[TrainState], TrainState]
  place: Callable[[TrainState], TrainState]
  collect: Callable[[TrainState], TrainState]
  params_of: Callable[[TrainState], representation_lib.Params]
  checked: Callable[
    [ViewBatch, Mapping[str, np.ndarray]], dict[str, np.ndarray]
  ]


def sample_batch(config: schema.ViewsConfig, seed: int, step: int) -> ViewBatch:
  """Draws the views and the greys behind them of one step."""
  rng = seeds.generator(seed, step, 'views')
  views = orbits.sample(config.num_views, rng, config.emphasis)
  rng = seeds.generator(seed, step, 'backgrounds')
  greys = rng.uniform(*config.background, (config.num_views, 1))
  greys = np.repeat(greys, 3, axis=1).astype(np.float32)
  return ViewBatch(seed, step, views, greys)


def make_learner(
  representation: representation_lib.Representation,
  run: schema.RunConfig,
  *,
  with_normals: bool = True,
  layout: device_mesh.Layout | None = None,
  wait: Callable[[Any], None] = jax.block_until_ready,
) -> Learner:
  """Builds the functions of a run; each is compiled once, at its first call.

  A second run in this process takes those of the first, if representation,
  learner, resolution and devices are the same.

  Args:
    representation: has `render(params, rays [N, ...], key, *, with_normals)`,
      and where `learner.compute` is not float32, `with_compute(name)`.
    run: `views`, `learner` and `num_steps` are read.
    with_normals: static; without them a step costs a third less, so pass
      False where no prior looks at normals.
    layout: where to run; all local devices by default.
    wait: called with arrays that are about to be read; returns when they are
      there, or raises.

  Raises:
    UserError: `learner.num_kept_chunks` is more than a device has.
  """
  layout = layout or device_mesh.learner_layout(
    run.learner.num_devices, num_shards=run.learner.num_shards
  )
  channels = ('rgb', 'normal') if with_normals else ('rgb',)
  halves = make_halves(representation, run, with_normals, layout)
  optimizer, update = _make_update(
    dataclasses.astuple(run.learner), run.num_steps, layout
  )

  def skip(state: TrainState) -> TrainState:
    return dataclasses.replace(
      state, step=state.step + 1, rejected=state.rejected + 1
    )

  def init(params: representation_lib.Params) -> TrainState:
    state = TrainState(
      jnp.int32(0), params, optimizer_lib.init(optimizer, params), jnp.int32(0)
    )
    # Through the host, which drops weak types: with a weakly typed leaf every
    # function would be compiled a second time at step 1.
    return layout.split(jax.device_get(state))

  def render_views(state: TrainState, batch: ViewBatch) -> ViewRenders:
    images = halves.render(state.params, batch)
    wait(images)
    renders = ViewRenders(*jax.device_get(images))
    for field in dataclasses.fields(renders):
      step_numbers.check_finite(
        batch.step, f'render ({field.name})', getattr(renders, field.name)
      )
    return renders

  def pull_back(
    state: TrainState, batch: ViewBatch, cotangents: Mapping[str, np.ndarray]
  ) -> step_parts.Pulled:
    cotangents = checked(batch, cotangents)
    pulled = halves.pull_back(state.params, batch, cotangents)
    return step_parts.Pulled(batch.step, *pulled, cotangents)

  def update_once(
    state: TrainState, pulled: step_parts.Pulled
  ) -> tuple[TrainState, dict[str, float]]:
    wait((pulled.norms, pulled.terms))
    stats = step_numbers.statistics(
      pulled.step, run, pulled.cotangents, pulled.norms, pulled.terms
    )
    return update(state, pulled.gradient), stats

  def apply_cotangents(
    state: TrainState, batch: ViewBatch, cotangents: Mapping[str, np.ndarray]
  ) -> tuple[TrainState, dict[str, float]]:
    return update_once(state, pull_back(state, batch, cotangents))

  def warm_up(params: representation_lib.Params) -> None:
    batch = sample_batch(run.views, run.seed, 0)
    state = init(params)
    parts = step_parts.cut(batch, run.views.micro_batches)
    halves.compile(state.params, parts[0], checked(parts[0], {}))
    pulled = []
    for part in parts:
      render_views(state, part)
      pulled.append(pull_back(state, part, {}))
    update_once(state, functools.reduce(step_parts.add, pulled))

  def place(state: TrainState) -> TrainState:
    return layout.split(jax.device_get(state))

  def collect(state: TrainState) -> TrainState:
    return layout.local(layout.join(state))

  def params_of(state: TrainState) -> representation_lib.Params:
    return layout.local(layout.join(state.params))

  def checked(
    batch: ViewBatch, cotangents: Mapping[str, np.ndarray]
  ) -> dict[str, np.ndarray]:
    return step_numbers.checked(
      cotangents, channels, batch, run.views.resolution
    )

  return Learner(
    init,
    warm_up,
    render_views,
    pull_back,
    step_parts.add,
    update_once,
    apply_cotangents,
    skip,
    place,
    collect,
    params_of,
    checked,
  )


def make_halves(
  representation: representation_lib.Representation,
  run: schema.RunConfig,
  with_normals: bool,
  layout: device_mesh.Layout,
) -> halves_lib.Halves:
  """Returns the two halves of a step alone; see `make_learner`."""
  validation.check_kept_chunks(run, layout.num_devices)
  representation = with_compute(representation, run.learner.compute)
  make = _make_passes_once if _never_changes(representation) else _make_passes
  learner = dataclasses.astuple(run.learner)
  kind, made = make(
    representation, with_normals, learner, run.views.resolution, layout
  )

  def place_of(batch: ViewBatch) -> dealing.Place | None:
    return step_parts.place_of(
      batch, run.views.resolution, run.learner.chunk_size
    )

  halves: halves_lib.Halves = kind(*made, _inputs, place_of)
  return halves


def with_compute(
  representation: representation_lib.Representation,
  compute: str,
  field: str = 'learner.compute',
) -> representation_lib.Representation:
  """Returns the representation that computes as a field of that name says.

  Raises:
    UserError: it computes in float32 only.
  """
  if compute == 'float32':
    return representation
  change = getattr(representation, 'with_compute', None)
  if change is None:
    raise errors.UserError(
      f"{field} is '{compute}', and this representation has no method "
      f"with_compute; give it one, or leave {field} at 'float32'."
    )
  changed: representation_lib.Representation = change(compute)
  return changed


def _never_changes(representation: representation_lib.Representation) -> bool:
  """Returns whether what was traced of a representation stays true of it.

  A person's own may have attributes that change between two runs. A frozen
  dataclass says of itself that it has none.
  """
  parameters = getattr(representation, '__dataclass_params__', None)
  return bool(parameters and parameters.frozen)


def _make_passes(
  representation: representation_lib.Representation,
  with_normals: bool,
  learner: tuple,
  resolution: int,
  layout: device_mesh.Layout,
) -> tuple[Callable[..., halves_lib.Halves], tuple[Any, ...]]:
  """Returns a kind of halves and its passes; `learner` are config values."""
  config = schema.LearnerConfig(*learner)
  render_chunk = functools.partial(
    representation.render, with_normals=with_normals
  )
  draw = getattr(representation, 'draw', None)
  # A ray that is moved has to take what jitters it along.
  density = getattr(representation, 'blurred_density', None) if draw else None
  common = (config, resolution, layout, draw)
  if config.remat and not config.num_kept_chunks:
    render = passes.make_render(render_chunk, *common, density)
    vjp = passes.make_vjp(render_chunk, *common)
    if density is None or not config.empty_opacity:
      return halves_lib.RenderTwice, (render, vjp)
    return halves_lib.RenderSeen, (render, vjp)
  keeping_chunk = kept_chunks.keeping_little(representation, render_chunk)
  if config.remat:
    partial = partly_kept.PartialPasses(
      keeping_chunk, render_chunk, *common, density
    )
    return halves_lib.RenderPartlyOnce, (partial,)
  made = kept_chunks.make_passes(keeping_chunk, *common)
  return halves_lib.RenderOnce, made


# Runs that follow each other in one process, as the cells of a sweep do, take
# what was traced and compiled for the first. That is most of a run's start.
_make_passes_once: Callable[..., Any] = functools.lru_cache(maxsize=8)(
  _make_passes
)


@functools.lru_cache(maxsize=8)
def _make_update(
  learner: tuple, num_steps: int, layout: device_mesh.Layout
) -> tuple[optax.GradientTransformation, Callable[..., TrainState]]:
  """Returns the optimiser, and the compiled step that takes a gradient."""
  optimizer = optimizer_lib.make_optimizer(
    schema.LearnerConfig(*learner), num_steps
  )

  @jax.jit
  def update(
    state: TrainState, gradient: representation_lib.Params
  ) -> TrainState:
    # The rate is that of the step, however many steps were left out before.
    opt_state = optimizer_lib.at_step(state.opt_state, state.step)
    updates, opt_state = optimizer.update(gradient, opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return layout.keep_split(
      TrainState(state.step + 1, params, opt_state, state.rejected)
    )

  return optimizer, update


def _inputs(
  batch: ViewBatch,
) -> tuple[camera_lib.Camera, np.ndarray, jax.Array]:
  key = seeds.jax_key(batch.seed, batch.step, 'jitter')
  return batch.views.cameras(), batch.backgrounds, key
