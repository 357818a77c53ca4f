"""A film of a search space: a conditional NeRF whose code glides.

The codes of some training subjects are the stops of a loop. Between two of them
the whole code is interpolated, so what is seen on the way are heads that nobody
photographed. Encoding and layout are those of `mmdist.results.turntable`.
"""

from collections.abc import Mapping
import math
import os
import pathlib
from typing import Any

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.core import representation as representation_lib
from mmdist.core import seeds
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.results import make as make_lib
from mmdist.results import remake
from mmdist.results import turntable
from mmdist.run import locks

FILES = {'video': 'codes.mp4', 'animation': 'codes.webp', 'sheet': 'codes.png'}
RESOLUTION = 128  # If no other is given.
MOST_PIXELS = 1024  # The film is held in memory before it is encoded.
NUM_COLUMNS = 7  # Pictures in a row of the sheet, both stops among them.
_SWAY = math.radians(20)


def make(
  nerf: str | os.PathLike, options: remake.Options
) -> dict[str, pathlib.Path]:
  """Writes the files of `FILES` into `options.out`; returns name -> file.

  The film shows colour left of normals, from the front, and the camera sways
  once per loop. The sheet shows colour above normals, straight from the front:
  a row for each pair of neighbours, from one to the next in even steps.

  Args:
    nerf: an embedded name, or a directory that `mmdist pretrain` wrote.
    options: out, num_subjects, frames, resolution and seed.

  Returns:
    What was made. Without ffmpeg there is no video.

  Raises:
    FileNotFoundError: there is no such NeRF.
    UserError: it is damaged or of one subject only, or an option is out of
      bounds.
    locks.InUse: another process works in `options.out`.
    PermissionError: nothing can be written there, for whatever reason.
  """
  options = options_lib.checked(options)
  _check(options)
  config, networks, codes = pretrained.load(nerf)
  pretrained.check_fits(nerf, config, networks)
  subjects = choose_stops(len(codes), options.num_subjects, options.seed)
  stops = codes[subjects].astype(np.float32)
  representation = field.conditional_nerf(config)
  resolution = options.resolution or RESOLUTION
  out = pathlib.Path(options.out)
  with locks.locked(out, '--out'):
    paths = {name: out / file for name, file in FILES.items()}
    frames = draw_film(
      representation, networks, stops, options.frames, resolution
    )
    films = {name: paths[name] for name in ('video', 'animation')}
    made = turntable.write_film(films, frames)
    _write_sheet(
      paths['sheet'], representation, networks, stops, subjects, resolution
    )
  return {**made, 'sheet': paths['sheet']}


def _check(options: remake.Options) -> None:
  """Raises UserError for what is wrong of these files alone."""
  if not options.out:
    raise errors.UserError(
      f'out is empty; expected the folder of {", ".join(FILES.values())}: give '
      '--out=FOLDER.'
    )
  if options.resolution and options.resolution > MOST_PIXELS:
    raise errors.UserError(
      f'resolution is {options.resolution}; expected at most {MOST_PIXELS} for '
      'a film of codes.'
    )


def choose_stops(num_known: int, num_stops: int, seed: int) -> np.ndarray:
  """Draws the subjects at which the code stops, in their order.

  Args:
    num_known: subjects that the NeRF was trained on.
    num_stops: K, how many are drawn, each at most once.
    seed: decides which.

  Returns:
    [K] rows of the codes.

  Raises:
    UserError: there are not so many.
  """
  if num_known < 2:
    raise errors.UserError(
      'the NeRF was trained on one subject, so there is nothing to glide '
      'between; expected one of two or more.'
    )
  if not 2 <= num_stops <= num_known:
    raise errors.UserError(
      f'num_subjects is {num_stops}; expected 2 to {num_known}, the subjects '
      'that the NeRF was trained on.'
    )
  rng = seeds.generator(seed, 0, 'stops of a film of codes')
  return rng.choice(num_known, num_stops, replace=False)


def glide(stops: np.ndarray, shares: np.ndarray) -> np.ndarray:
  """Returns the codes of one loop through the stops, from the first one on.

  Args:
    stops: [K, C] codes; the first one follows the last one.
    shares: [S] in [0, 1) of the next stop in the code; 0 is the stop itself.

  Returns:
    [K * S, C] float32.
  """
  after = np.roll(stops, -1, 0)[:, None]
  shares = shares[:, None]
  codes = (1 - shares) * stops[:, None] + shares * after
  return codes.reshape(-1, stops.shape[-1]).astype(np.float32)


def smoothstep(share: np.ndarray) -> np.ndarray:
  """Maps [0, 1] to itself with a slope of 0 at both ends: 3 x^2 - 2 x^3."""
  return share * share * (3 - 2 * share)


def draw_film(
  representation: representation_lib.Representation,
  networks: Mapping[str, Any],
  stops: np.ndarray,
  num_between: int,
  resolution: int,
) -> np.ndarray:
  """Renders the frames of one loop, colour left of normals.

  Args:
    representation: the conditional NeRF.
    networks: its parameters without 'code'.
    stops: [K, C] codes.
    num_between: F, frames from one stop to the next, the first of them at it.
    resolution: H = W of each half.

  Returns:
    [K * F, H, 2 W, 3] uint8.
  """
  codes = glide(stops, smoothstep(np.arange(num_between) / num_between))
  turns = np.arange(len(codes)) / len(codes)
  azimuth = _SWAY * np.sin(2 * np.pi * turns)
  return turntable.side_by_side(
    *_draw(representation, networks, codes, azimuth, resolution)
  )


def _draw(
  representation: representation_lib.Representation,
  networks: Mapping[str, Any],
  codes: np.ndarray,
  azimuth: np.ndarray,
  resolution: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Renders code i from azimuth i; returns colours and normals [N, H, W, 3]."""
  views = orbits.whole_head(azimuth)
  pictures = [
    make_lib.render(
      representation,
      {**networks, 'code': code},
      views.take(np.array([number])),
      resolution,
    )
    for number, code in enumerate(codes)
  ]
  rgb, normals = (
    np.concatenate([picture[channel] for picture in pictures])
    for channel in ('rgb', 'normals')
  )
  return rgb, normals


def _write_sheet(
  path: pathlib.Path,
  representation: representation_lib.Representation,
  networks: Mapping[str, Any],
  stops: np.ndarray,
  subjects: np.ndarray,
  resolution: int,
) -> None:
  """Writes a row for each pair of neighbours; `subjects` [K] are the names."""
  num_steps = NUM_COLUMNS - 1
  codes = glide(stops, np.arange(num_steps) / num_steps)
  front = np.zeros(len(codes))
  rgb, normals = _draw(representation, networks, codes, front, resolution)
  # A row ends where the next one begins, and the last row where the first does.
  starts = num_steps * np.arange(len(stops))[:, None]
  shown = ((starts + np.arange(NUM_COLUMNS)) % len(codes)).ravel()
  between = [f'{step}/{num_steps}' for step in range(1, num_steps)]
  labels = [
    label
    for one, other in zip(subjects, np.roll(subjects, -1), strict=True)
    for label in (f'subject {one}', *between, f'subject {other}')
  ]
  turntable.write_sheet(path, rgb[shown], normals[shown], labels, NUM_COLUMNS)
