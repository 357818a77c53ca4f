"""An avatar in the browser, to be turned by hand while it is being made.

Owns what is rendered when for whom. The server is viser's; where parameters
come from is the caller's.
"""

from collections.abc import Callable, Mapping
import dataclasses
import time
from typing import Any

import numpy as np
from numpy import typing as npt

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.core import representation as representation_lib
from mmdist.nerf import images
from mmdist.results import turntable

CHANNELS = {'colour': 'rgb', 'normals': 'normals'}
DRAFT_RESOLUTION = 48  # While the mouse moves.
BAND_PIXELS = 96 * 96  # Rendered at a time.
LOOK_FOR_PARAMS_EVERY_S = 5.0
IDLE_S = 0.03


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

  A draft is there at once; each next one has at most 4 times the pixels along
  an axis, so that somebody who waits sees it become sharp.
  """
  sizes = [min(DRAFT_RESOLUTION, resolution)]
  while sizes[-1] < resolution:
    sizes.append(min(4 * sizes[-1], resolution))
  return sizes


@dataclasses.dataclass
class _Picture:
  """How far one browser's picture is.

  Attributes:
    wanted: what it is to show.
    sizes: the sizes that are still to come.
    bands: the rows of the next one that are there, from the top.
  """

  wanted: tuple
  sizes: list[int]
  bands: list[np.ndarray] = dataclasses.field(default_factory=list)


class Viewer:
  """Keeps every browser's picture up to date.

  Attributes:
    server: a `viser.ViserServer`.
    load: returns what there is to show; called now and then, so that a run
      that goes on is followed.
    resolution: longer side of a picture in pixels, once the mouse rests.
  """

  def __init__(self, server: Any, load: Callable[[], Shown], resolution: int):
    self.server = server
    self.load = load
    self.resolution = resolution
    self._shown = load()
    self._loaded_at = time.monotonic()
    self._pictures: dict[int, _Picture] = {}  # By client.
    server.scene.set_up_direction('+y')
    server.initial_camera.position = (0.0, 0.1, orbits.CAMERA_DISTANCE)
    server.initial_camera.look_at = orbits.HEAD_TARGET
    self._channel = server.gui.add_dropdown('Show', tuple(CHANNELS))
    self._step = server.gui.add_number('Step', self._shown.step, disabled=True)

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
    if now - self._loaded_at > LOOK_FOR_PARAMS_EVERY_S:
      self._shown, self._loaded_at = self.load(), now
      self._step.value = self._shown.step
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

  def _picture_of(self, number: int, client: Any) -> _Picture:
    """Returns a browser's picture, begun anew if it is to show other things."""
    camera = client.camera
    pose = (tuple(camera.wxyz), tuple(camera.position))
    looks = (*pose, camera.fov, camera.aspect)
    wanted = (looks, self._channel.value, self._shown.step)
    before = self._pictures.get(number)
    if before is not None and before.wanted == wanted:
      return before
    moved = before is None or before.wanted[0] != looks
    sizes = stages(self.resolution)
    # Where the camera rests, a draft would only flicker.
    return _Picture(wanted, sizes if moved else sizes[1:] or sizes)

  def _draw(self, client: Any, picture: _Picture) -> None:
    """Renders the next band, and shows the picture if it was the last one."""
    camera, size = client.camera, picture.sizes[0]
    rows, columns = crop(size, camera.aspect)
    # Independent of the browser's shape, so that it is compiled once.
    num_rows = min(max(1, BAND_PIXELS // size), size)
    first = rows.start + num_rows * len(picture.bands)
    band = self._render(camera, size, range(first, first + num_rows))
    picture.bands.append(band)
    if first + num_rows < rows.stop:
      return
    whole = np.concatenate(picture.bands)[: len(rows), columns.start :]
    picture.bands, picture.sizes = [], picture.sizes[1:]
    client.scene.set_background_image(
      turntable.to_uint8(whole[:, : len(columns)]),
      # A draft has to be there soon; what stays is not to be smeared.
      format='jpeg' if picture.sizes else 'png',
    )

  def _render(self, camera: Any, size: int, rows: range) -> np.ndarray:
    shown = self._shown
    square = camera_of(camera.wxyz, camera.position, camera.fov, camera.aspect)
    pictures: Mapping[str, np.ndarray] = images.render_rows(
      shown.representation,
      shown.params,
      square.take(0),
      size,
      rows,
      turntable.BACKGROUND,
      with_normals=self._channel.value == 'normals',
    )
    return pictures[CHANNELS[self._channel.value]]
