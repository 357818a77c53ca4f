"""Adam, its decaying learning rates, and which parameters it may move."""

from typing import Any

import jax
import numpy as np
import optax

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import representation as representation_lib


def learning_rate_at(
  config: schema.LearnerConfig, num_steps: int, step: int | jax.Array
) -> float | jax.Array:
  """Returns the learning rate of the weights at one step.

  Decays exponentially from `learning_rate` to `final_learning_rate_ratio` of
  it at `num_steps`. `step` may be an int or a traced array, so that the
  optimiser and the proxies follow one law.
  """
  ratio = config.final_learning_rate_ratio
  return config.learning_rate * ratio ** (step / max(num_steps, 1))


def moving_rate_at(
  config: schema.LearnerConfig, num_steps: int, step: int | jax.Array
) -> float | jax.Array:
  """Returns the learning rate of what moves: the weights, or the code alone.

  The rate of the code is `code_learning_rate_ratio` times that of the weights.
  It counts only where nothing but the code moves (`trainable='code'`).
  """
  rate = learning_rate_at(config, num_steps, step)
  if config.trainable == 'code':
    return config.code_learning_rate_ratio * rate
  return rate


def proxy_learning_rate_at(
  config: schema.LearnerConfig, num_steps: int, step: int
) -> float:
  """Returns the rate of the proxies, by default twice that of what moves.

  The paper finds the ratio 2 crucial (A.4), so it holds at every step, through
  the decay and after steps that were left out.
  """
  rate = moving_rate_at(config, num_steps, step)
  return float(config.proxy_learning_rate_ratio * rate)


def at_step(opt_state: optax.OptState, step: int | jax.Array) -> optax.OptState:
  """Returns the state with which the optimiser takes the rate of one step.

  Optax counts updates, and a step that was left out is none: its schedule
  would fall behind the proxies'. The counts of Adam, which correct the bias of
  its moments, are left alone.

  Args:
    opt_state: of `make_optimizer`.
    step: [] int32, traced or not.
  """

  def is_schedule(node: object) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)

  return jax.tree.map(
    lambda node: node._replace(count=step) if is_schedule(node) else node,
    opt_state,
    is_leaf=is_schedule,
  )


def make_optimizer(
  config: schema.LearnerConfig, num_steps: int
) -> optax.GradientTransformation:
  """Builds Adam over everything, or over the latent code alone.

  The code moves `code_learning_rate_ratio` times as fast as the weights.

  Raises:
    UserError: `trainable` is neither 'all' nor 'code'.
  """
  if config.trainable not in schema.TRAINABLE:
    raise errors.UserError(
      f"learner.trainable is '{config.trainable}'; expected 'all' or 'code'."
    )

  adam = optax.adam(
    lambda count: learning_rate_at(config, num_steps, count),
    b1=config.adam_b1,
    b2=config.adam_b2,
  )
  shares = {
    'code': optax.scale(config.code_learning_rate_ratio),
    'weights': (
      optax.identity() if config.trainable == 'all' else optax.set_to_zero()
    ),
  }
  return optax.chain(adam, optax.partition(shares, _label))


def init(
  optimizer: optax.GradientTransformation, params: representation_lib.Params
) -> optax.OptState:
  """Returns the state that an optimiser of `make_optimizer` begins with.

  All of it is zeros, which are made here by numpy. Made by JAX, each shape of
  them would be compiled in every process.

  Args:
    optimizer: of `make_optimizer`.
    params: what it moves.
  """
  shapes = jax.eval_shape(optimizer.init, params)
  return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def _label(params: representation_lib.Params) -> Any:
  """Returns 'code' or 'weights' for every leaf."""

  def label(path: tuple, _: Any) -> str:
    top = path[0] if path else None
    # A key of a dict, or a field of a dataclass. A tuple, a list and a single
    # array have no code.
    name = getattr(top, 'key', getattr(top, 'name', None))
    return 'code' if name == 'code' else 'weights'

  return jax.tree_util.tree_map_with_path(label, params)
