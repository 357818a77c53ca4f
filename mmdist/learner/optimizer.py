"""Adam, its decaying learning rates, and which parameters it may move."""

import jax
import optax

from mmdist.config import schema


def learning_rate_at(config: schema.LearnerConfig, num_steps: int, step):
  """Returns the learning rate of one step.

  Decays exponentially from `learning_rate` to `final_learning_rate_ratio` of
  it at `num_steps`. `step` may be an int or a traced array, so that the
  optimiser and the proxies follow one law.
  """
  ratio = config.final_learning_rate_ratio
  return config.learning_rate * ratio ** (step / max(num_steps, 1))


def proxy_learning_rate_at(
  config: schema.LearnerConfig, num_steps: int, step: int
) -> float:
  """Returns LR_LoRA, by default 2 x LR_NeRF at every step.

  Source: MagicMirror, A.4.
  """
  rate = learning_rate_at(config, num_steps, step)
  return float(config.proxy_learning_rate_ratio * rate)


def make_optimizer(
  config: schema.LearnerConfig, num_steps: int
) -> optax.GradientTransformation:
  """Builds Adam over everything, or over the latent code alone.

  The code moves `code_learning_rate_ratio` times as fast as the weights.

  Raises:
    ValueError: `trainable` is neither 'all' nor 'code'.
  """
  if config.trainable not in schema.TRAINABLE:
    raise ValueError(
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


def _label(params):
  return jax.tree_util.tree_map_with_path(
    lambda path, _: 'code' if path[0].key == 'code' else 'weights', params
  )
