"""The numbers of a step: checked, and told as statistics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import errors
from mmdist.core import shapes
from mmdist.learner import optimizer as optimizer_lib

if TYPE_CHECKING:  # It imports this file.
  from mmdist.learner import distill


def checked(
  cotangents: Mapping[str, np.ndarray],
  channels: tuple[str, ...],
  batch: 'distill.ViewBatch',
  resolution: int,
) -> dict[str, np.ndarray]:
  """Returns a cotangent per channel: zeros where no prior has answered.

  Args:
    cotangents: by channel [V, H, W, 3].
    channels: that are rendered.
    batch: the V views.
    resolution: H = W.

  Raises:
    UserError: one is of another shape or channel.
    NotFinite: one holds NaN or infinity.
  """
  unknown = sorted(set(cotangents) - set(channels))
  if unknown:
    raise errors.UserError(
      f"step {batch.step}: a cotangent for channel '{unknown[0]}', which this"
      f' learner does not render; it renders {", ".join(channels)}.'
    )
  shape = (len(batch.views), resolution, resolution, 3)
  for channel, cotangent in cotangents.items():
    shapes.check_shape(f'the cotangent of {channel}', cotangent, shape)
    check_finite(batch.step, f'summed cotangent on {channel}', cotangent)
  zeros = np.zeros(shape, np.float32)
  return {channel: cotangents.get(channel, zeros) for channel in channels}


def check_finite(step: int, what: str, values: arrays.Array) -> None:
  """Raises NotFinite unless all values are finite."""
  bad = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
  if bad:
    raise errors.NotFinite(
      f'step {step}: {bad} of {np.size(values)} numbers of the {what} are not'
      ' finite; resume from the last checkpoint with a lower'
      ' learner.learning_rate or guidance_scale.'
    )


def statistics(
  step: int,
  run: schema.RunConfig,
  cotangents: Mapping[str, np.ndarray],
  norms: Any,
  parts: Mapping[str, Any],
) -> dict[str, float]:
  """Turns the second half's numbers into named floats, all finite."""
  norms, parts = jax.device_get((norms, parts))
  for path, norm in jax.tree_util.tree_leaves_with_path(norms):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    check_finite(step, f'norm of the gradient of {name}', norm)
  config = run.learner
  rate = optimizer_lib.moving_rate_at(config, run.num_steps, step)
  opacity = config.opacity_weight * float(parts['opacity'])
  regularizer = config.regularizer_weight * float(parts['regularizer'])
  squares = [float(norm) ** 2 for norm in jax.tree.leaves(norms)]
  return {
    'loss': sum(map(cotangent_loss, cotangents.values()))
    + opacity
    + regularizer,
    'loss/opacity': opacity,
    'loss/regularizer': regularizer,
    'mean_opacity': float(parts['opacity']),
    'gradient_norm': float(np.sqrt(sum(squares))),
    'learning_rate': float(rate),
  }


def cotangent_loss(cotangent: np.ndarray) -> float:
  """Returns a loss whose gradient with respect to the pixels is the cotangent.

  With pixels x and a target x - r that is held fixed, the gradient of
  mean((x - target)^2) / 2 is r / size. For r = size * cotangent that is the
  cotangent, and the loss is half the mean square of r.
  """
  values = np.asarray(cotangent, np.float64).ravel()
  return float(0.5 * values.size * (values @ values))
