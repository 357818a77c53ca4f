"""What a run says of itself while it runs: progress, metrics, a preview.

Owns `metrics.jsonl` (one line per step), `tensorboard/` and `preview.png` in
the run's folder. A resumed run goes on in the same files, and the steps that
it repeats appear once. What looks wrong is said once, as a warning. Results of
a finished run are `mmdist.results`'.
"""

from collections.abc import Mapping
import dataclasses
import logging
import os
import pathlib
import time
from typing import TextIO

import jax
import numpy as np
from PIL import Image

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import atomic
from mmdist.core import progress
from mmdist.core import representation as representation_lib
from mmdist.core import strict_json
from mmdist.nerf import images
from mmdist.run import early_warnings
from mmdist.run import event_file
from mmdist.run import metrics_file
from mmdist.run import sessions
from mmdist.run import wandb_log

PREVIEW_NAME = 'preview.png'
PREVIEW_AZIMUTHS = (0.0, 0.6, 1.6)  # Radians: front, three-quarter, side.
PREVIEW_RESOLUTION = 96
PREVIEW_BACKGROUND = (0.85, 0.85, 0.85)


@dataclasses.dataclass(frozen=True)
class _Channels:
  """Where one run is reported to, all open."""

  bar: progress.Progress
  lines: TextIO
  board: event_file.EventFile

  def close(self) -> None:
    self.bar.close()
    self.lines.close()
    self.board.close()


class Reporter:
  """Reports the steps of one run; a context manager.

  Args:
    workdir: the run's folder.
    run: its configuration.
    representation: what previews are rendered with.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    run: schema.RunConfig,
    representation: representation_lib.Representation,
  ):
    self._workdir = pathlib.Path(workdir)
    self._run = run
    self._representation = representation
    self._channels: _Channels | None = None
    self._wandb: wandb_log.WandbLog | None = None
    self._monitor = early_warnings.Monitor(run)
    self._last_s = 0.0
    self._safe = 0
    self._next = 0  # The step that is expected.

  def __enter__(self) -> 'Reporter':
    return self

  def __exit__(self, *_: object) -> None:
    self._close()
    if self._wandb is not None:
      self._wandb.close()

  def _close(self) -> None:
    if self._channels is not None:
      self._channels.close()
      self._channels = None

  def begin(self, step: int) -> None:
    """Opens the files; drops what they hold of `step` and of later steps.

    Args:
      step: the first step to come, from 0.
    """
    sessions.record(self._workdir, step)
    if self._run.results.wandb:
      self._wandb = wandb_log.WandbLog(self._workdir, self._run)
    self._open(step)

  def _open(self, step: int) -> '_Channels':
    self._close()
    path = self._workdir / metrics_file.NAME
    metrics_file.drop_steps(path, step)
    channels = _Channels(
      lines=path.open('a', buffering=1, encoding='utf-8'),
      board=event_file.EventFile(self._workdir / 'tensorboard', step),
      bar=progress.Progress(self._run.num_steps, step),
    )
    self._channels = channels
    self._last_s = time.monotonic()
    self._next = step
    return channels

  def tell_safe(self, step: int) -> None:
    """Notes the newest step that is on the disk, for the lines to come."""
    self._safe = step

  def step(
    self,
    step: int,
    params: representation_lib.Params,
    metrics: Mapping[str, float],
  ) -> None:
    """Reports one finished step.

    A step that was reported before is taken again since one was rejected; what
    was written of it and of those after it is dropped.

    Args:
      step: its number, from 0.
      params: the parameters after it.
      metrics: flat name -> number; `loss` and `cotangent_norm/PRIOR` are
        shown.
    """
    channels = self._channels
    if channels is None or step < self._next:
      channels = self._open(step)
    self._next = step + 1
    now = time.monotonic()
    row = {'step': step, 'step_seconds': now - self._last_s, **metrics}
    self._last_s = now
    channels.lines.write(strict_json.dumps(row) + '\n')
    numbers = {name: row[name] for name in row if name != 'step'}
    channels.board.add_scalars(step, numbers)
    if self._wandb is not None:
      self._wandb.add_scalars(step, numbers)
    for line in self._monitor.observe(step, metrics):
      logging.warning('%s', line)
    shown = [summary(metrics)] + [f'safe {self._safe}'] * bool(self._safe)
    channels.bar.update(', '.join(filter(None, shown)))
    every = self._run.results.preview_every
    if every and ((step + 1) % every == 0 or step + 1 == self._run.num_steps):
      picture = preview_picture(
        self._representation,
        # From one device: else every device would render the same picture.
        jax.device_get(params),
      )
      write_picture(self._workdir / PREVIEW_NAME, picture)
      channels.board.add_picture(step, 'preview', picture)
      if self._wandb is not None:
        self._wandb.add_picture(step, 'preview', picture)


def summary(metrics: Mapping[str, float]) -> str:
  """Returns e.g. 'loss 0.0123, cotangent generic 0.0041'.

  Of each prior, only its whole answer is shown, and not the concepts' parts.
  """
  shown = {}
  for name, value in metrics.items():
    kind, _, prior = name.partition('/')
    if name == 'loss':
      shown[name] = value
    elif kind == 'cotangent_norm' and '/' not in prior:
      shown[f'cotangent {prior}'] = value
  return ', '.join(f'{name} {value:.3g}' for name, value in shown.items())


def preview_picture(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
) -> np.ndarray:
  """Renders three views, colour above normals, as [2 H, 3 W, 3] uint8."""
  views = orbits.make_views(
    PREVIEW_AZIMUTHS,
    0.1,
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )
  renders = images.render_images(
    representation,
    params,
    views,
    PREVIEW_RESOLUTION,
    np.array(PREVIEW_BACKGROUND, np.float32),
  )
  rows = [np.concatenate(list(renders[k]), 1) for k in ('rgb', 'normals')]
  picture = np.round(np.clip(np.concatenate(rows), 0, 1) * 255)
  return picture.astype(np.uint8)


def write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
  """Writes a PNG, all of it or nothing, since someone may have it open."""
  with atomic.replacing(path) as temporary:
    Image.fromarray(picture).save(temporary)
