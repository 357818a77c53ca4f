"""The film of a trajectory, and its sheet: the start and every leg's end."""

from collections.abc import Iterator, Sequence
import dataclasses
import math
import pathlib

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.config import trajectory_schema
from mmdist.core import representation as representation_lib
from mmdist.results import make as make_lib
from mmdist.results import turntable
from mmdist.trajectories import way

FILES = {
  'video': 'trajectory.mp4',
  'animation': 'trajectory.webp',
  'sheet': 'sheet.png',
}
_SHEET_AZIMUTHS = {'front': 0.0, 'three-quarter': math.radians(35)}
_CAPTION = 18  # Pixels.


@dataclasses.dataclass(frozen=True)
class Ended:
  """A leg that has reached its end.

  Attributes:
    name: of the leg.
    way: folder of the parameters that were kept of it.
    params: of its end.
    num_steps: that it took.
  """

  name: str
  way: pathlib.Path
  params: representation_lib.Params
  num_steps: int


@dataclasses.dataclass(frozen=True)
class Point:
  """What one or more frames show.

  Attributes:
    caption: what it is.
    params: the avatar.
    num_frames: how long.
  """

  caption: str
  params: representation_lib.Params
  num_frames: int


def make(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  legs: Sequence[Ended],
  film: trajectory_schema.FilmConfig,
  results: schema.ResultsConfig,
) -> dict[str, pathlib.Path]:
  """Writes the files of `FILES`; returns those that were made, by name.

  Args:
    workdir: of the trajectory.
    representation: renders all legs.
    legs: all of them, in order; the first one's way holds step 0, the start.
    film: how long, and from where.
    results: the pictures' resolution.
  """
  paths = {name: workdir / file for name, file in FILES.items()}
  frames = draw(
    representation, list(points(legs, film)), film, results.resolution
  )
  _write_sheet(paths['sheet'], representation, legs, results.resolution)
  films = {name: paths[name] for name in ('video', 'animation')}
  made = turntable.write_film(films, frames, film.frames_per_second)
  return {name: paths[name] for name in paths if name in {*made, 'sheet'}}


def points(
  legs: Sequence[Ended], film: trajectory_schema.FilmConfig
) -> Iterator[Point]:
  """Yields the points of the whole way, in order."""
  still = max(round(film.hold_s * film.frames_per_second), 1)
  for number, leg in enumerate(legs):
    for step in way.steps_in(leg.way):
      if step >= leg.num_steps:
        continue
      caption = f'{leg.name}: step {step} of {leg.num_steps}'
      is_start = number == 0 and step == 0
      yield Point(
        'start' if is_start else caption,
        way.read(leg.way, step, leg.params),
        still if is_start else 1,
      )
    caption = f'{leg.name}: step {leg.num_steps} of {leg.num_steps}'
    yield Point(caption, leg.params, still)


def draw(
  representation: representation_lib.Representation,
  shown: Sequence[Point],
  film: trajectory_schema.FilmConfig,
  resolution: int,
) -> np.ndarray:
  """Renders the frames, colour left of normals, with a line below.

  Args:
    representation: renders all points.
    shown: in order.
    film: how the camera swings.
    resolution: H = W of each half.

  Returns:
    [F, H + 18, 2 W, 3] uint8, with F the sum of the points' frames.
  """
  all_points = [point for point in shown for _ in range(point.num_frames)]
  views = orbits.whole_head(azimuths(len(all_points), film))
  frames = []
  for number, point in enumerate(all_points):
    pictures = make_lib.render(
      representation, point.params, views.take(np.array([number])), resolution
    )
    (frame,) = turntable.side_by_side(pictures['rgb'], pictures['normals'])
    frames.append(_with_caption(frame, point.caption))
  return np.stack(frames)


def azimuths(num_frames: int, film: trajectory_schema.FilmConfig) -> np.ndarray:
  """Returns [F] radians of a camera that swings slowly from side to side."""
  seconds = np.arange(num_frames) / film.frames_per_second
  return np.radians(film.swing_deg) * np.sin(2 * np.pi * seconds / film.swing_s)


def _with_caption(frame: np.ndarray, caption: str) -> np.ndarray:
  strip = Image.new('RGB', (frame.shape[1], _CAPTION), 'white')
  ImageDraw.Draw(strip).text(
    (4, 2), caption, fill='black', font=ImageFont.load_default(12)
  )
  return np.concatenate([frame, np.asarray(strip)])


def _write_sheet(
  path: pathlib.Path,
  representation: representation_lib.Representation,
  legs: Sequence[Ended],
  resolution: int,
) -> None:
  """Writes a column for the start and for each end, a row for each view."""
  first = legs[0]
  shown = {leg.name: leg.params for leg in legs}
  if 0 in way.steps_in(first.way):
    shown = {'start': way.read(first.way, 0, first.params)} | shown
  views = orbits.whole_head(np.array(list(_SHEET_AZIMUTHS.values())))
  pictures = [
    make_lib.render(representation, params, views, resolution)
    for params in shown.values()
  ]
  # Of K avatars and two views; a view is a row.
  rgb, normals = (
    np.concatenate(np.swapaxes([p[channel] for p in pictures], 0, 1))
    for channel in ('rgb', 'normals')
  )
  labels = [f'{name}, {view}' for view in _SHEET_AZIMUTHS for name in shown]
  turntable.write_sheet(path, rgb, normals, labels, num_columns=len(shown))
