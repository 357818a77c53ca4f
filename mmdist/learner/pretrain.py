"""Pretraining of the conditional NeRF on many photographed subjects.

Every subject has a learnable code (GLO); rays come from all subjects and
cameras at once. Where pixels come from is the caller's choice: a step
takes any `PixelBatch`, or draws from `Photographs` that it is given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import functools
import math
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmdist.cameras import photographs
from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import device_mesh
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import platforms
from mmdist.core import representation as representation_lib
from mmdist.core import seeds
from mmdist.learner import distill
from mmdist.learner import muon
from mmdist.nerf import losses

PIXELS = ('auto', 'host', 'device')
_OPTIMIZERS = {'adam': optax.adam, 'muon': muon.make}
EVALUATION_BACKGROUND = 0.7
_EVALUATION_CHUNK = 1024  # Rays at a time; bounds the memory.


@dataclasses.dataclass
class PretrainConfig:
  """Everything that decides a pretraining."""

  nerf: schema.NerfConfig = dataclasses.field(default_factory=schema.NerfConfig)
  seed: int = 0
  # The pictures. The first five fields are for procedural heads only; a set of
  # photographs has its own numbers.
  world: str = 'clay'  # See `mmdist/heads/worlds.py`.
  expressive: bool = False  # Every second subject has an expression.
  num_subjects: int = 360
  num_cameras: int = 14  # 13 to train on, as in the paper; one held out.
  resolution: int = 64
  num_unseen_subjects: int = 8  # Kept aside, of any set: codes only.
  background: tuple[float, float] = (0.35, 1.0)
  # The optimisation.
  num_steps: int = 7000
  batch_size: int = 2048  # Rays per step, over all devices.
  chunk_size: int = 256  # Rays at a time on each device.
  # Of the networks' matrices: 'adam', as of everything else, or 'muon'.
  optimizer: str = 'adam'
  num_devices: int = 0  # On each host; 0: all that it has.
  # Hosts that train side by side, each started with the same command.
  num_hosts: int = 1
  learning_rate: float = 8e-3
  final_learning_rate_ratio: float = 0.02
  num_warmup_steps: int = 100
  interlevel_weight: float = 0.3
  opacity_weight: float = 0.1
  code_weight: float = 1e-4
  num_code_steps: int = 400  # For unseen subjects.
  code_learning_rate: float = 3e-2  # MagicMirror, A.4, for the code alone.
  checkpoint_every: int = 500
  # Of the products of hidden layers; their sums are float32. Or 'bfloat16'.
  compute: str = 'float32'
  # Where the pictures lie: 'host', or 'device', so that a step is sent only the
  # numbers of its pixels. 'auto': on a GPU that has room for them.
  pixels: str = 'auto'


@struct.dataclass
class PretrainState:
  """What a step changes.

  Attributes:
    step: [] int32, steps behind it.
    params: 'proposal' and 'nerf', the networks; 'codes' [M, C].
    opt_state: optax's.
  """

  step: jax.Array
  params: representation_lib.Params
  opt_state: optax.OptState


@dataclasses.dataclass(frozen=True)
class Pretraining:
  """The functions of one pretraining.

  Attributes:
    init: `init(num_subjects) -> PretrainState`.
    step: `step(state, batch, photographs=None) -> (state, metrics)`, compiled;
      a batch is a `PixelBatch`, or `PixelDraws` from these photographs; metrics
      are scalars 'loss', 'mse', 'interlevel' and 'opacity_error'.
    layout: where it runs.
  """

  init: Callable[[int], PretrainState]
  step: Callable[..., tuple[PretrainState, dict[str, jax.Array]]]
  layout: device_mesh.Layout


def check(config: PretrainConfig) -> None:
  """Raises UserError, in one line, for a choice that does not exist."""
  names.check_choice('compute', config.compute, schema.COMPUTE)
  names.check_choice('pixels', config.pixels, PIXELS)
  names.check_choice('optimizer', config.optimizer, tuple(_OPTIMIZERS))


def learning_rate_at(config: PretrainConfig) -> optax.Schedule:
  """Returns a linear warm-up, then a half cosine to the final rate."""
  return optax.warmup_cosine_decay_schedule(
    0.0,
    config.learning_rate,
    min(config.num_warmup_steps, config.num_steps // 2),
    config.num_steps,
    config.learning_rate * config.final_learning_rate_ratio,
  )


def make_pretraining(
  representation: representation_lib.Representation, config: PretrainConfig
) -> Pretraining:
  """Builds the training of networks and codes together.

  Raises:
    UserError: the batch cannot be cut into chunks, or the representation does
      not compute as it is asked to.
  """
  make_optimizer = _OPTIMIZERS[config.optimizer]
  optimizer = make_optimizer(learning_rate_at(config), b2=0.99, eps=1e-15)

  def init(num_subjects: int) -> PretrainState:
    params = dict(representation.init(_key(config, 'networks')))
    latent_code = params.pop('code')
    shape = (num_subjects, latent_code.shape[-1])
    # Small, so that all subjects start as nearly the same head.
    params['codes'] = 0.1 * jax.random.normal(_key(config, 'codes'), shape)
    return _state(params, optimizer)

  layout = device_mesh.learner_layout(config.num_devices, config.num_hosts)
  return Pretraining(
    init, _make_step(representation, config, optimizer, layout), layout
  )


def fit_codes(
  representation: representation_lib.Representation,
  config: PretrainConfig,
  params: representation_lib.Params,
  num_subjects: int,
  batches: Iterator[photographs.PixelBatch | photographs.PixelDraws],
) -> jax.Array:
  """Fits codes of unseen subjects; the networks stay as they are.

  Args:
    representation: the conditional NeRF.
    config: its `num_code_steps` and `code_learning_rate` count here.
    params: pretrained; every code starts as the mean of its 'codes'.
    num_subjects: M', how many are fitted.
    batches: iterator of PixelBatches with subjects in [0, M').

  Returns:
    [M', C] codes.
  """
  rate = optax.cosine_decay_schedule(
    config.code_learning_rate, config.num_code_steps
  )
  optimizer = optax.partition(
    {'moves': optax.adam(rate), 'stays': optax.set_to_zero()},
    {name: 'moves' if name == 'codes' else 'stays' for name in params},
  )
  layout = device_mesh.local_layout(config.num_devices)
  step = _make_step(representation, config, optimizer, layout)
  mean = jnp.mean(params['codes'], 0)
  codes = jnp.tile(mean, (num_subjects, 1))
  state = _state({**params, 'codes': codes}, optimizer)
  # As steps return it: else the second one is compiled again.
  state = layout.replicate(jax.device_get(state))
  for _ in range(config.num_code_steps):
    # One step at a time: on the devices of one CPU, two all-reduces can each
    # hold the thread that the other waits for, and then neither ever ends.
    state, _ = jax.block_until_ready(step(state, next(batches)))
  return state.params['codes']


def held_out_psnr(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  codes: arrays.Array,
  pictures: Iterable[photographs.PixelBatch],
) -> np.ndarray:
  """Measures pictures that were not trained on.

  Args:
    representation: the conditional NeRF.
    params: holds the networks.
    codes: [I, C] code of the subject of each picture.
    pictures: I pictures, all pixels [H, W] of each.

  Returns:
    [I] PSNR in decibels over the pictures' backgrounds, the whole picture
    counting.
  """
  networks = {name: params[name] for name in params if name != 'codes'}
  render = _picture_renderer(representation.render)
  answers = []
  for latent_code, picture in zip(codes, pictures, strict=True):
    rgb = jax.device_get(render({**networks, 'code': latent_code}, picture))
    mse = np.mean((rgb - picture.rgb()) ** 2)
    answers.append(losses.mse_to_psnr(mse))
  return np.array(answers)


@functools.lru_cache(maxsize=16)
def _picture_renderer(
  render: representation_lib.Render,
) -> Callable[..., jax.Array]:
  """Returns the compiled function of one picture [H, W], without jitter."""

  @jax.jit
  def render_picture(
    params: representation_lib.Params, picture: photographs.PixelBatch
  ) -> jax.Array:
    shape = picture.rgba.shape[:2]
    num_pixels = math.prod(shape)
    size = min(_EVALUATION_CHUNK, num_pixels)
    missing = -num_pixels % size

    def cut(leaf: jax.Array) -> jax.Array:
      flat = leaf.reshape((num_pixels,) + leaf.shape[2:])
      padding = [(0, missing)] + [(0, 0)] * (flat.ndim - 1)
      flat = jnp.pad(flat, padding, mode='edge')
      return flat.reshape((-1, size) + flat.shape[1:])

    def render_chunk(chunk: photographs.PixelBatch) -> jax.Array:
      renders = render(params, chunk.rays(), None, with_normals=False)
      return renders.rgb

    chunks = jax.lax.map(render_chunk, jax.tree.map(cut, picture))
    return chunks.reshape(-1, 3)[:num_pixels].reshape(*shape, 3)

  return render_picture


def _key(config: PretrainConfig, purpose: str, step: int = 0) -> jax.Array:
  return seeds.jax_key(config.seed, step, f'pretrain {purpose}')


def _state(
  params: representation_lib.Params, optimizer: optax.GradientTransformation
) -> PretrainState:
  return PretrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def _make_step(
  representation: representation_lib.Representation,
  config: PretrainConfig,
  optimizer: optax.GradientTransformation,
  layout: device_mesh.Layout,
) -> Callable[..., tuple[PretrainState, dict[str, jax.Array]]]:
  """Returns the compiled step: gradients by chunks on every device, summed."""
  num_chunks = _count_chunks(config, layout.num_devices)
  representation = distill.with_compute(
    representation, config.compute, 'compute'
  )
  gradients = layout.map_chunks(
    lambda fixed, chunks: _sum_gradients(
      representation, config, fixed, chunks, layout
    ),
    sums=True,
  )

  @jax.jit
  def step(
    state: PretrainState,
    batch: photographs.PixelBatch | photographs.PixelDraws,
    pictures: photographs.Photographs | None = None,
  ) -> tuple[PretrainState, dict[str, jax.Array]]:
    key = jax.random.fold_in(_key(config, 'jitter'), state.step)
    chunks = (jnp.arange(num_chunks), batch.cut(num_chunks))
    grads, metrics = gradients((state.params, key, pictures), chunks)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return PretrainState(state.step + 1, params, opt_state), metrics

  return step


def _count_chunks(config: PretrainConfig, num_devices: int) -> int:
  """Returns how many chunks a batch is cut into; many devices get less each."""
  chunk_size = min(config.chunk_size, config.batch_size // num_devices)
  if not chunk_size or config.batch_size % (chunk_size * num_devices):
    raise errors.UserError(
      f'batch_size={config.batch_size} cannot be dealt out to {num_devices} '
      f'device(s) in chunks of chunk_size={config.chunk_size}; make it a '
      'multiple of both, or set num_devices.'
    )
  return config.batch_size // chunk_size


def _sum_gradients(
  representation: representation_lib.Representation,
  config: PretrainConfig,
  fixed: Any,
  chunks: Any,
  layout: device_mesh.Layout,
) -> tuple[dict[str, Any], dict[str, jax.Array]]:
  """Sums gradients and metrics over one device's chunks.

  The gradient is taken chunk by chunk and no activation outlives its chunk.
  Codes are looked up first, so that a chunk hands back the gradients of its
  own rays' codes instead of a table that is almost all zero.
  """
  params, key, pictures = fixed
  networks = {name: params[name] for name in params if name != 'codes'}
  _, batch = chunks
  codes = params['codes'][batch.subject]

  def add_chunk(total: Any, inputs: Any) -> tuple[Any, Any]:
    index, pixels, chunk_codes = inputs
    if pictures is not None:
      pixels = pictures.read(pixels)
    (_, metrics), (grads, code_grads) = jax.value_and_grad(
      _chunk_loss, argnums=(0, 1), has_aux=True
    )(
      networks,
      chunk_codes,
      representation,
      config,
      pixels,
      jax.random.fold_in(key, index),
    )
    return jax.tree.map(jnp.add, total, (grads, metrics)), code_grads

  metrics = {name: jnp.zeros(()) for name in _METRICS}
  zeros = (jax.tree.map(jnp.zeros_like, networks), layout.vary(metrics))
  (grads, metrics), code_grads = jax.lax.scan(
    add_chunk, zeros, (*chunks, codes)
  )
  table = _sum_by_subject(code_grads, batch.subject, len(params['codes']))
  return {**grads, 'codes': table}, metrics


def _sum_by_subject(
  code_grads: jax.Array, subject: jax.Array, num_subjects: int
) -> jax.Array:
  """Sums gradients [..., C] of rays' codes to those of the codes, [M, C]."""
  size = code_grads.shape[-1]
  if platforms.is_cpu():
    return jnp.zeros((num_subjects, size)).at[subject].add(code_grads)
  # A GPU whose sums have to be the same every time adds ray after ray there;
  # a product with zeros and ones is as fast as any other.
  is_of = jax.nn.one_hot(subject.ravel(), num_subjects)
  return jax.lax.dot_general(
    is_of,
    code_grads.reshape(-1, size),
    (((0,), (0,)), ((), ())),
    precision=jax.lax.Precision.HIGHEST,
  )


_METRICS = ('loss', 'mse', 'interlevel', 'opacity_error')


def _chunk_loss(
  networks: Mapping[str, Any],
  codes: jax.Array,
  representation: representation_lib.Representation,
  config: PretrainConfig,
  pixels: photographs.PixelBatch,
  key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns one chunk's share of the loss, a mean over the whole batch."""
  renders = representation.render(
    {**networks, 'code': codes}, pixels.rays(), key, with_normals=False
  )
  share = codes.shape[0] / config.batch_size
  metrics = {
    'mse': losses.reconstruction(renders.rgb, pixels.rgb()) * share,
    'interlevel': jnp.mean(renders.regularizer) * share,
    'opacity_error': losses.opacity_error(renders.acc, pixels.rgba[..., 3])
    * share,
  }
  code_l2 = jnp.mean(jnp.sum(codes**2, -1)) * share
  loss = (
    metrics['mse']
    + config.interlevel_weight * metrics['interlevel']
    + config.opacity_weight * metrics['opacity_error']
    + config.code_weight * code_l2
  )
  return loss, {**metrics, 'loss': loss}
