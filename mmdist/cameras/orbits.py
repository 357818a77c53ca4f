"""The bank of views: 1,320 orbits of 30 cameras, and the words for them.

Owns which views exist (docs/method.md, section 4) and what each is called.
Words follow from geometry alone: azimuth, elevation, and which part fills the
frame. `python -m mmdist.cameras.orbits` prints the table.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy import typing as npt

from mmdist.cameras import poses
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import seeds

if TYPE_CHECKING:
  from mmdist.cameras import camera as camera_lib

NUM_CAMERAS_PER_ORBIT = 30
CAMERA_DISTANCE = 3.4
# The head with its hair is 1.36 high: 0.95 world units of half height in the
# frame leave it about 70 % of the picture, so that a mouth spans a dozen
# pixels of 64.
HEAD_TARGET = (0.0, 0.08, 0.0)
HEAD_HALF_HEIGHT = 0.95
FILM_ELEVATION = 0.12  # Radians; of all films, slightly from above.


@dataclasses.dataclass(frozen=True)
class OrbitKind:
  """A family of orbits.

  Attributes:
    word: the part that fills the frame, or '' where angles decide the word.
    count: how many of the 1,320 orbits.
    target: what is in the middle of the frame, world.
    half_height: world units from the middle of the frame to its edge.
    arc: cameras spread over azimuths in [-arc, arc] radians.
    elevation: lowest and highest elevation, radians.
  """

  word: str
  count: int
  target: tuple[float, float, float]
  half_height: float
  arc: float
  elevation: tuple[float, float]


# A quarter are close-ups: a whole head at 64 pixels hardly shows a smile.
ORBIT_KINDS = (
  OrbitKind('', 600, HEAD_TARGET, HEAD_HALF_HEIGHT, math.pi, (-0.45, 0.75)),
  OrbitKind('', 330, HEAD_TARGET, HEAD_HALF_HEIGHT, 0.9, (-0.25, 0.4)),
  OrbitKind('', 60, HEAD_TARGET, HEAD_HALF_HEIGHT, math.pi, (0.75, 1.15)),
  OrbitKind('mouth', 100, (0, -0.26, 0.38), 0.34, 0.8, (-0.3, 0.35)),
  OrbitKind('eyes', 70, (0, 0.06, 0.36), 0.36, 0.8, (-0.25, 0.4)),
  OrbitKind('nose', 40, (0, -0.06, 0.42), 0.28, 1.0, (-0.3, 0.35)),
  OrbitKind('chin', 30, (0, -0.48, 0.28), 0.34, 1.0, (-0.4, 0.2)),
  OrbitKind('hair', 60, (0, 0.50, 0.0), 0.60, math.pi, (0.0, 0.9)),
  OrbitKind('chest', 30, (0, -0.88, 0.0), 0.55, math.pi, (-0.1, 0.4)),
)
VIEW_WORDS = ('front', 'side', 'back', 'overhead', 'low-angle') + tuple(
  dict.fromkeys(kind.word for kind in ORBIT_KINDS if kind.word)
)

OVERHEAD_ELEVATION = math.radians(38)
LOW_ANGLE_ELEVATION = math.radians(-18)
FRONT_AZIMUTH = math.radians(40)
SIDE_AZIMUTH = math.radians(125)


@dataclasses.dataclass(frozen=True)
class Views:
  """N views: numbers first, so they can be printed, jittered and stored.

  Attributes:
    azimuth: [N] radians in [-pi, pi).
    elevation: [N] radians.
    distance: [N] world units.
    target: [N, 3] world.
    tan_half_fov: [N].
    words: N view words.
  """

  azimuth: np.ndarray
  elevation: np.ndarray
  distance: np.ndarray
  target: np.ndarray
  tan_half_fov: np.ndarray
  words: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.words)

  def cameras(self) -> 'camera_lib.Camera':
    """Returns the [N] cameras of the views."""
    # Here, so that whoever asks only for words does without JAX.
    from mmdist.cameras import camera as camera_lib

    return camera_lib.look_at(
      self.azimuth,
      self.elevation,
      self.distance,
      self.target,
      self.tan_half_fov,
    )

  def poses(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns [N, 3, 4] camera_to_world and [N] tan_half_fov, without JAX."""
    return poses.look_at(
      self.azimuth,
      self.elevation,
      self.distance,
      self.target,
      self.tan_half_fov,
    )

  def take(self, indices: Sequence[int] | np.ndarray) -> 'Views':
    """Returns the views at `indices`, in that order."""
    return Views(
      self.azimuth[indices],
      self.elevation[indices],
      self.distance[indices],
      self.target[indices],
      self.tan_half_fov[indices],
      tuple(self.words[i] for i in indices),
    )


def angle_word(azimuth: float, elevation: float) -> str:
  """Names a view of the whole head by its direction, in radians."""
  if elevation > OVERHEAD_ELEVATION:
    return 'overhead'
  if elevation < LOW_ANGLE_ELEVATION:
    return 'low-angle'
  turn = abs((azimuth + math.pi) % (2 * math.pi) - math.pi)
  if turn < FRONT_AZIMUTH:
    return 'front'
  return 'side' if turn < SIDE_AZIMUTH else 'back'


def part_word(target: npt.ArrayLike, half_height: float) -> str:
  """Names the part that fills a frame, or '' if it holds the whole head."""
  closeups = [kind for kind in ORBIT_KINDS if kind.word]
  if half_height > 0.75:
    return ''
  distances = [np.linalg.norm(np.subtract(target, k.target)) for k in closeups]
  return closeups[int(np.argmin(distances))].word


def view_word(
  azimuth: float,
  elevation: float,
  distance: float,
  target: npt.ArrayLike,
  tan_half_fov: float,
) -> str:
  """Returns the word of one view from its geometry."""
  half_height = float(distance) * float(tan_half_fov)
  return part_word(target, half_height) or angle_word(azimuth, elevation)


def make_views(
  azimuth: npt.ArrayLike,
  elevation: npt.ArrayLike,
  distance: npt.ArrayLike,
  target: npt.ArrayLike,
  half_height: npt.ArrayLike,
) -> Views:
  """Builds named views from [N] angles and what they frame."""
  azimuth, elevation, distance, half_height = np.broadcast_arrays(
    *(
      np.asarray(v, np.float64)
      for v in (azimuth, elevation, distance, half_height)
    )
  )
  azimuth = np.atleast_1d((azimuth + np.pi) % (2 * np.pi) - np.pi)
  elevation, distance, half_height = (
    np.atleast_1d(value) for value in (elevation, distance, half_height)
  )
  target = np.broadcast_to(np.asarray(target, np.float64), azimuth.shape + (3,))
  tan = half_height / distance
  words = tuple(
    view_word(*row)
    for row in zip(azimuth, elevation, distance, target, tan, strict=True)
  )
  return Views(azimuth, elevation, distance, target, tan, words)


@functools.cache
def bank() -> Views:
  """Returns all 39,600 views; row = orbit * 30 + camera. Always the same."""
  return make_views(*_bank_columns())


@functools.cache
def _bank_columns() -> tuple[np.ndarray, ...]:
  """Returns what `make_views` makes the bank of.

  Naming all views takes half a second, and a run looks at a few of them.
  """
  rng = seeds.generator(0, 0, 'orbit bank')
  columns = []
  for kind in ORBIT_KINDS:
    shape = (kind.count, NUM_CAMERAS_PER_ORBIT)
    spacing = 2 * kind.arc / NUM_CAMERAS_PER_ORBIT
    phase = rng.uniform(0, spacing, (kind.count, 1)) - kind.arc
    azimuth = phase + spacing * np.arange(NUM_CAMERAS_PER_ORBIT)
    # Stratified, so that few orbits already cover the range.
    strata = (np.arange(kind.count) + rng.uniform(size=kind.count)) / kind.count
    low, high = kind.elevation
    elevation = (low + (high - low) * strata)[:, None]
    scale = rng.uniform(0.95, 1.06, (kind.count, 1))
    jitter = rng.normal(0, 0.03 * kind.half_height, (kind.count, 1, 3))
    target = np.asarray(kind.target) + jitter
    columns.append(
      (
        azimuth.ravel(),
        np.broadcast_to(elevation, shape).ravel(),
        np.full(azimuth.size, CAMERA_DISTANCE),
        np.broadcast_to(target, shape + (3,)).reshape(-1, 3),
        np.broadcast_to(kind.half_height * scale, shape).ravel(),
      )
    )
  return tuple(np.concatenate(column) for column in zip(*columns))


def sample(
  num_views: int,
  rng: np.random.Generator,
  emphasis: Mapping[str, float] | None = None,
) -> Views:
  """Draws views from the bank, with replacement; see `draw`."""
  rows = draw(num_views, rng, emphasis)
  return make_views(*(column[rows] for column in _bank_columns()))


def draw(
  num_views: int,
  rng: np.random.Generator,
  emphasis: Mapping[str, float] | None = None,
) -> np.ndarray:
  """Draws [N] rows of the bank, with replacement.

  Args:
    num_views: N.
    rng: decides which.
    emphasis: as for `cumulative_odds`; by default every view is as likely.

  Raises:
    UserError: a word of `emphasis` names no view, or nothing can be drawn.
  """
  if not emphasis:
    return rng.integers(0, len(_bank_columns()[0]), num_views)
  odds = cumulative_odds(bank().words, emphasis)
  return odds.searchsorted(rng.random(num_views), side='right')


def cumulative_odds(
  words: Sequence[str], emphasis: Mapping[str, float]
) -> np.ndarray:
  """Returns the cumulative probabilities of N views, to draw from.

  Args:
    words: N view words.
    emphasis: view word -> how much likelier than a view that is not named.

  Returns:
    [N] that never fall, the last one 1.

  Raises:
    UserError: a word of `emphasis` names no view, or nothing can be drawn.
  """
  for word in emphasis:
    names.check_choice('a view', word, VIEW_WORDS)
  odds = np.cumsum([emphasis.get(word, 1.0) for word in words])
  if not odds[-1] > 0:
    raise errors.UserError(
      f'views with emphasis {dict(emphasis)} are never drawn; raise one.'
    )
  return odds / odds[-1]


def turntable(num_views: int, elevation: float = FILM_ELEVATION) -> Views:
  """Returns one even orbit around the whole head, starting in front."""
  azimuth = np.arange(num_views) * (2 * np.pi / num_views)
  return whole_head(azimuth, elevation)


def whole_head(
  azimuth: npt.ArrayLike, elevation: npt.ArrayLike = FILM_ELEVATION
) -> Views:
  """Returns views of the whole head from [N] angles in radians."""
  return make_views(
    azimuth, elevation, CAMERA_DISTANCE, HEAD_TARGET, HEAD_HALF_HEIGHT
  )


def main() -> None:
  """Prints how many of the bank's views carry each word."""
  words = bank().words
  for word in VIEW_WORDS:
    share = words.count(word) / len(words)
    print(f'{word:10} {words.count(word):6} views {share:6.1%}')


if __name__ == '__main__':
  main()
