"""An avatar in the browser, to be turned by hand while it is being made.

Owns what is rendered when for whom. The server is viser's; where parameters
come from is the caller's.
"""

import bisect
from collections.abc import Mapping, Sequence
import dataclasses
import time
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from numpy import typing as npt

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.core import representation as representation_lib
from mmdist.nerf import images
from mmdist.nerf import normals
from mmdist.results import turntable

CHANNELS = {'colour': 'rgb', 'normals': 'normals', 'depth': 'depth'}
BACKGROUNDS = {
  'rgb': turntable.BACKGROUND,
  'normals': (normals.MID_GREY,) * 3,
  'depth': (0.0,) * 3,
}
DRAFT_RESOLUTION = 48  # While the mouse moves.
BAND_PIXELS = 96 * 96  # Rendered at a time.
LOOK_FOR_PARAMS_EVERY_S = 5.0
IDLE_S = 0.03
_DEPTH_RANGE = 1.0  # World units, about a head's radius.
_FARTHEST_GREY = 0.15
# Along an axis, between the last two stages of a picture.
_LEAST_GAIN = 1.5


@dataclasses.dataclass(frozen=True)
class Shown:
  """What an avatar looks like at some step.

  Attributes:
    representation: renders it.
    params: its parameters.
    step: of the optimisation.
  """

  representation: representation_lib.Representation
  params: representation_lib.Params
  step: int


class Source(Protocol):
  """Where a viewer's avatars come from."""

  def steps(self) -> Sequence[int]:
    """Returns the steps there are to show, in order."""

  def load(self, step: int) -> Shown | None:
    """Returns the avatar at one of them; None if it is gone by now.

    One of the steps is always there.
    """


def camera_of(
  wxyz: npt.ArrayLike, position: npt.ArrayLike, fov: float, aspect: float
) -> camera_lib.Camera:
  """Returns the square camera [1] that holds a browser's picture.

  Args:
    wxyz: [4] unit quaternion of the camera's pose in OpenCV's axes (+z ahead,
      +y down), as viser has it.
    position: [3] world.
    fov: vertical field of view in radians.
    aspect: width / height of the browser's picture.
  """
  w, x, y, z = np.asarray(wxyz, np.float64)
  rotation = np.array(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
  )
  rotation = rotation * (1, -1, -1)  # OpenCV's axes to OpenGL's.
  pose = np.concatenate([rotation, np.reshape(position, (3, 1))], 1)
  tan = np.tan(fov / 2) * max(aspect, 1.0)
  return camera_lib.Camera(
    pose[None].astype(np.float32), np.array([tan], np.float32)
  )


def crop(size: int, aspect: float) -> tuple[range, range]:
  """Returns the rows and columns of a square picture that a browser shows.

  They are its middle, of the shape width / height.
  """
  height = max(1, round(size / max(aspect, 1.0)))
  width = max(1, round(size * min(aspect, 1.0)))
  top, left = (size - height) // 2, (size - width) // 2
  return range(top, top + height), range(left, left + width)


def stages(resolution: int) -> list[int]:
  """Returns the sizes that a picture has, one after the other, once it rests.

  A draft is there at once; each next one has 4 times the pixels along an axis,
  so that somebody who waits sees it become sharp. One that the last size would
  hardly outdo is left out.
  """
  sizes = [min(DRAFT_RESOLUTION, resolution)]
  while 4 * sizes[-1] < resolution / _LEAST_GAIN:
    sizes.append(4 * sizes[-1])
  return sizes + [resolution] * (sizes[-1] < resolution)


def size_for(camera: Any, most: int) -> int:
  """Returns the longer side of a browser's picture in pixels, once it rests.

  Args:
    camera: of a client of viser's, which knows how large its picture is.
    most: what it is at most, since larger pictures take long.
  """
  return min(max(camera.image_width, camera.image_height, 1), most)


def places_of(rows: range, columns: range, size: int) -> np.ndarray:
  """Returns where pixels of a square picture are, [H, W, 2].

  Args:
    rows, columns: H and W numbers.
    size: pixels along an axis of the whole picture.

  Returns:
    x to the right and y up, -1 to 1 across the whole picture.
  """
  across, down = (
    (np.asarray(numbers, np.float32) + 0.5) / size * 2 - 1
    for numbers in (columns, rows)
  )
  return np.stack(np.meshgrid(across, -down), -1)


def may_show(camera: camera_lib.Camera, places: np.ndarray) -> np.ndarray:
  """Returns [H, W], whether the rays through places [H, W, 2] meet the ball.

  Everything else is background, and need not be rendered: of a wide window
  that is most.
  """
  pose = np.asarray(camera.camera_to_world[0])
  tan = np.asarray(camera.tan_half_fov[0]) * places
  local = np.concatenate([tan, np.full_like(tan[..., :1], -1)], -1)
  ways = local @ pose[:, :3].T
  ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
  origin = pose[:, 3]
  squared_miss = origin @ origin - (ways @ origin) ** 2
  return squared_miss < camera_lib.SCENE_RADIUS**2


@dataclasses.dataclass
class _Canvas:
  """A picture of one size that is being made.

  Attributes:
    pixels: [H, W, 3], the background where nothing was rendered yet.
    missing: [N, 2] row and column of what has to be rendered.
    places: [N, 2] of these, see `places_of`.
  """

  pixels: np.ndarray
  missing: np.ndarray
  places: np.ndarray


@dataclasses.dataclass
class _Picture:
  """How far one browser's picture is.

  Attributes:
    wanted: what it is to show.
    sizes: the sizes that are still to come.
    canvas: the next one, once it is begun.
  """

  wanted: tuple
  sizes: list[int]
  canvas: _Canvas | None = None


class Viewer:
  """Keeps every browser's picture up to date.

  Attributes:
    server: a `viser.ViserServer`.
    source: is asked now and then, so that a run that goes on is followed.
    most_pixels: of the longer side of a picture, once the mouse rests; a
      smaller browser has as many as it shows.
  """

  def __init__(self, server: Any, source: Source, most_pixels: int):
    self.server = server
    self.source = source
    self.most_pixels = most_pixels
    self._looked_at = time.monotonic()
    self._gone: set[int] = set()
    self._steps = list(source.steps())
    self._pictures: dict[int, _Picture] = {}  # By client.
    server.scene.set_up_direction('+y')
    server.initial_camera.position = (0.0, 0.1, orbits.CAMERA_DISTANCE)
    server.initial_camera.look_at = orbits.HEAD_TARGET
    self._channel = server.gui.add_dropdown('Show', tuple(CHANNELS))
    last = len(self._steps) - 1
    self._slider = server.gui.add_slider(
      'Checkpoint', min=0, max=last, step=1, initial_value=last
    )
    self._step = server.gui.add_number('Step', self._steps[-1], disabled=True)
    self._shown = self._load()

  def run_forever(self) -> None:
    """Serves until the process is interrupted."""
    while True:
      if not self.tick(time.monotonic()):
        time.sleep(IDLE_S)

  def tick(self, now: float) -> bool:
    """Renders a little of what is most wanted.

    A browser whose camera moved gets a draft first, so that it stays quick. A
    sharp picture is made band by band: whoever moves the camera meanwhile does
    not wait for it.

    Args:
      now: seconds of a clock that never goes back.

    Returns:
      Whether there was anything to do.
    """
    if now - self._looked_at > LOOK_FOR_PARAMS_EVERY_S:
      self._looked_at = now
      self._look_for_steps()
    if self._chosen_step() != self._shown.step:
      self._shown = self._load()
    clients = self.server.get_clients()
    self._pictures = {
      number: self._picture_of(number, client)
      for number, client in clients.items()
    }
    waiting = {n: p for n, p in self._pictures.items() if p.sizes}
    if not waiting:
      return False
    # The roughest first: a draft never waits for another browser's details.
    number = min(waiting, key=lambda n: waiting[n].sizes[0])
    self._draw(clients[number], waiting[number])
    return True

  def _chosen_step(self) -> int:
    return self._steps[min(int(self._slider.value), len(self._steps) - 1)]

  def _look_for_steps(self) -> None:
    """Follows a run: a slider that is at its end goes to the newest step.

    Anywhere else it stays at the step that somebody chose, or at the next one
    if that is gone.
    """
    chosen = self._chosen_step()
    was_last = chosen == self._steps[-1]
    steps = [step for step in self.source.steps() if step not in self._gone]
    if steps == self._steps:
      return
    self._steps = steps
    last = len(steps) - 1
    self._slider.max = last
    self._slider.value = (
      last if was_last else min(last, bisect.bisect_left(steps, chosen))
    )

  def _load(self) -> Shown:
    """Returns the avatar of the chosen step, or of one beside it if gone."""
    while (shown := self.source.load(self._chosen_step())) is None:
      self._gone.add(self._chosen_step())
      self._look_for_steps()
    self._step.value = shown.step
    return shown

  def _picture_of(self, number: int, client: Any) -> _Picture:
    """Returns a browser's picture, begun anew if it is to show other things."""
    camera = client.camera
    pose = (tuple(camera.wxyz), tuple(camera.position))
    looks = (*pose, camera.fov, camera.aspect)
    size = size_for(camera, self.most_pixels)
    wanted = (looks, size, self._channel.value, self._shown.step)
    before = self._pictures.get(number)
    if before is not None and before.wanted == wanted:
      return before
    moved = before is None or before.wanted[0] != looks
    sizes = stages(size)
    # Where the camera rests, a draft would only flicker.
    return _Picture(wanted, sizes if moved else sizes[1:] or sizes)

  def _draw(self, client: Any, picture: _Picture) -> None:
    """Renders the next band, and shows the picture if it was the last one."""
    camera, size = client.camera, picture.sizes[0]
    square = camera_of(camera.wxyz, camera.position, camera.fov, camera.aspect)
    if picture.canvas is None:
      picture.canvas = self._begin(square, size, camera.aspect)
    canvas = picture.canvas
    # Independent of the browser's size, so that it is compiled once.
    num = DRAFT_RESOLUTION**2 if size <= DRAFT_RESOLUTION else BAND_PIXELS
    if len(canvas.missing):
      band = self._render(square, size, canvas.places[:num], num)
      canvas.pixels[tuple(canvas.missing[:num].T)] = band
    canvas.missing, canvas.places = canvas.missing[num:], canvas.places[num:]
    if len(canvas.missing):
      return
    picture.canvas, picture.sizes = None, picture.sizes[1:]
    client.scene.set_background_image(
      turntable.to_uint8(canvas.pixels),
      # A draft has to be there soon; what stays is not to be smeared.
      format='jpeg' if picture.sizes else 'png',
    )

  def _begin(
    self, square: camera_lib.Camera, size: int, aspect: float
  ) -> _Canvas:
    places = places_of(*crop(size, aspect), size)
    missing = np.argwhere(may_show(square, places))
    pixels = np.empty((*places.shape[:2], 3), np.float32)
    pixels[:] = BACKGROUNDS[CHANNELS[self._channel.value]]
    return _Canvas(pixels, missing, places[tuple(missing.T)])

  def _render(
    self, square: camera_lib.Camera, size: int, places: np.ndarray, num: int
  ) -> np.ndarray:
    """Returns the colours [N, 3] at N places, `num` of them at most."""
    shown = self._shown
    padded = np.pad(places, [(0, num - len(places)), (0, 0)], mode='edge')
    channel = CHANNELS[self._channel.value]
    pictures: Mapping[str, np.ndarray] = images.render_places(
      shown.representation,
      shown.params,
      square.take(0),
      padded,
      size,
      turntable.BACKGROUND,
      with_normals=channel == 'normals',
    )
    colors = pictures[channel]
    if channel == 'depth':
      colors = _grey_of_depth(pictures, square.take(0), padded)
    return colors[: len(places)]


def _grey_of_depth(
  pictures: Mapping[str, np.ndarray],
  camera: camera_lib.Camera,
  places: np.ndarray,
) -> np.ndarray:
  """Returns greys [N, 3]: what is nearer is brighter, and nothing is black.

  White is `_DEPTH_RANGE` before the middle of the scene, and as far behind it
  surfaces still have `_FARTHEST_GREY`.

  Args:
    pictures: 'depth' and 'acc' [N] of N places.
    camera: one camera.
    places: [N, 2], see `places_of`.
  """
  rays = camera_lib.pixel_rays(camera, jnp.asarray(places), 1, jnp.zeros(3))
  acc = pictures['acc']
  # What passes the head counts as far in a depth; here it counts as nothing.
  passed = (1 - acc) * np.asarray(rays.far)[:, 0]
  depth = (pictures['depth'] - passed) / np.maximum(acc, 1e-6)
  to_middle = np.linalg.norm(camera.camera_to_world[:, 3])
  nearness = 0.5 * (1 + (to_middle - depth) / _DEPTH_RANGE)
  grey = _FARTHEST_GREY + (1 - _FARTHEST_GREY) * np.clip(nearness, 0, 1)
  return np.repeat((acc * grey)[:, None], 3, 1).astype(np.float32)
