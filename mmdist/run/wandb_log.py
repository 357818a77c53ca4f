"""Sends a run's numbers and previews to Weights & Biases, where it is asked to.

The package wandb is an extra and is imported only here, and only by a run with
`results.wandb`. Whether it writes to a server or to the run's folder is wandb's
own setting: WANDB_MODE=offline needs no network and no account.
"""

from collections.abc import Mapping
import importlib.util
import os
import pathlib
from typing import Any

import numpy as np

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors


def check(run: schema.RunConfig) -> None:
  """Checks, before anything slow begins, that wandb is there if it is asked.

  Raises:
    UserError: it is not installed.
  """
  if run.results.wandb and importlib.util.find_spec('wandb') is None:
    raise errors.UserError(
      f'results.wandb is {run.results.wandb!r} and the package wandb is not '
      'installed, which is the extra [wandb] of mmdist: pip install wandb, or '
      "leave results.wandb=''."
    )


class WandbLog:
  """One run of a project of Weights & Biases.

  A run that is resumed becomes a new one there, in the same group, since a run
  of theirs cannot go back to an earlier step.

  Args:
    workdir: the run's folder, whose name is the group; files go to `wandb` in
      it.
    run: its configuration; `results.wandb` is the project.

  Raises:
    UserError: wandb is not installed.
  """

  def __init__(self, workdir: str | os.PathLike, run: schema.RunConfig):
    check(run)
    import wandb

    self._wandb = wandb
    folder = pathlib.Path(workdir)
    self._run: Any = wandb.init(
      project=run.results.wandb,
      group=folder.resolve().name[:128],  # A longer one is refused there.
      dir=str(folder),
      config=serialization.to_dict(run),
    )
    # A metric of ours, since wandb's own step never goes back: it would drop
    # what is logged of steps that are taken again.
    self._run.define_metric('*', step_metric='step')

  def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Adds one number for each name."""
    self._run.log({'step': step, **values})

  def add_picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Adds an [H, W, 3] uint8 picture."""
    self._run.log({'step': step, name: self._wandb.Image(picture)})

  def close(self) -> None:
    """Ends the run; what was added is written before this returns."""
    self._run.finish()
