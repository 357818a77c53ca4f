"""An avatar in the browser, to be turned by hand while it is being made.

Owns what is rendered when for whom. The server is viser's; where parameters
come from is the caller's.
"""

from collections.abc import Callable
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


def crop(image: np.ndarray, aspect: float) -> np.ndarray:
  """Cuts the middle of a square [R, R, 3] picture to width / height."""
  size = len(image)
  height = max(1, round(size / max(aspect, 1.0)))
  width = max(1, round(size * min(aspect, 1.0)))
  top, left = (size - height) // 2, (size - width) // 2
  return image[top : top + height, left : left + width]


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
    self._done: dict[int, tuple] = {}  # Client -> what its picture shows.
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
    """Renders what is most wanted; returns whether there was anything.

    A browser whose camera moved gets a draft first, so that it stays quick.

    Args:
      now: seconds of a clock that never goes back.
    """
    if now - self._loaded_at > LOOK_FOR_PARAMS_EVERY_S:
      self._shown, self._loaded_at = self.load(), now
      self._step.value = self._shown.step
    clients = self.server.get_clients()
    self._done = {key: self._done[key] for key in clients if key in self._done}
    for number, client in clients.items():
      pose = (tuple(client.camera.wxyz), tuple(client.camera.position))
      looks = (*pose, client.camera.fov, client.camera.aspect)
      wanted = (looks, self._channel.value, self._shown.step)
      done, was_draft = self._done.get(number, (None, False))
      if done == wanted and not was_draft:
        continue
      moved = done is None or done[0] != looks
      self._draw(client, DRAFT_RESOLUTION if moved else self.resolution)
      self._done[number] = (wanted, moved)
      return True
    return False

  def _draw(self, client: Any, resolution: int) -> None:
    camera, shown = client.camera, self._shown
    square = images.render_images(
      shown.representation,
      shown.params,
      camera_of(camera.wxyz, camera.position, camera.fov, camera.aspect),
      resolution,
      np.asarray(turntable.BACKGROUND, np.float32),
      with_normals=self._channel.value == 'normals',
    )[CHANNELS[self._channel.value]][0]
    picture = turntable.to_uint8(crop(square, camera.aspect))
    client.scene.set_background_image(picture, format='jpeg')
