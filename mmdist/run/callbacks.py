"""What `on_step` is told after every step, and what it may ask for."""

from collections.abc import Mapping
import dataclasses

import jax
import numpy as np

from mmdist.config import schema
from mmdist.core import representation as representation_lib
from mmdist.run import reporting
from mmdist.run import stopping


@dataclasses.dataclass(frozen=True)
class Step:
  """One finished step of a run.

  Attributes:
    number: steps taken so far, this one included. It can be lower than that of
      the call before: after a rejected step, earlier steps are taken again.
    metrics: flat name -> number, as in the run's `metrics.jsonl`, but without
      `step` and `step_seconds`.
    config: the run's configuration.
    params: the representation's parameters after the step; on the devices.
  """

  number: int
  metrics: Mapping[str, float]
  config: schema.RunConfig
  params: representation_lib.Params
  _representation: representation_lib.Representation
  _stop: stopping.Stopper

  def preview(self) -> np.ndarray:
    """Returns three views, colour above normals, as [2 H, 3 W, 3] uint8."""
    params = jax.device_get(self.params)
    return reporting.preview_picture(self._representation, params)

  def stop(self) -> None:
    """Ends the run after this step; it is saved and can be resumed."""
    self._stop.ask()
