"""A mesh in three.js beside the renders that it was made from.

  python -m tests.results.mesh_shots RUN OUT

makes the mesh of a run's folder, looks at it with several materials, under the
light of its page and under a plain one, and prints the PSNR of each view.
Pictures are left in the folder OUT.
"""

from collections.abc import Callable, Iterator
import contextlib
import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np
from PIL import Image

from mmdist.cameras import orbits
from mmdist.nerf import images
from mmdist.results import glb
from mmdist.results import mesh_page
from mmdist.results import triangle_mesh
from mmdist.results import turntable
from mmdist.run import opening
from tests.results import chromium

# (azimuth, elevation) in radians.
ANGLES = ((0, 0.05), (0.6, 0.1), (np.pi / 2, 0.1), (np.pi, 0.1), (0.3, 0.7))
# What viewers do by themselves: one white light from where the camera is.
PLAIN_LIGHT = """
scene.children.filter(child => child.isAmbientLight)
  .forEach(child => scene.remove(child));
tracklight.intensity = 1;
render();
"""


def views_of(angles: tuple[tuple[float, float], ...]) -> orbits.Views:
  """Returns views of the whole head."""
  azimuths, elevations = np.array(angles).T
  return orbits.make_views(
    azimuths,
    elevations,
    orbits.CAMERA_DISTANCE,
    [orbits.HEAD_TARGET] * len(angles),
    [orbits.HEAD_HALF_HEIGHT] * len(angles),
  )


def screenshots(
  page: chromium.Page,
  path: pathlib.Path,
  views: orbits.Views,
  num_pixels: int,
  script: str = '',
) -> np.ndarray:
  """Opens a mesh's page and looks from each view; [V, H, W, 3] in [0, 1]."""
  page.errors.clear()
  page.open(path, num_pixels, num_pixels)
  # Both exist once the model is there.
  page.wait_for('typeof controls === "object" && typeof camera === "object"')
  page.run(script)
  degrees = 2 * np.degrees(np.arctan(views.tan_half_fov[0]))
  page.run(f'camera.fov = {degrees}; camera.updateProjectionMatrix(); true')
  shots = []
  for pose in views.cameras().camera_to_world:
    position, target = (
      ', '.join(f'{value * glb.METRES_PER_UNIT:.6f}' for value in place)
      for place in (pose[:, 3], orbits.HEAD_TARGET)
    )
    page.run(
      f'camera.position.set({position}); controls.target.set({target});'
      'camera.up.set(0, 1, 0); controls.update(); render(); true'
    )
    shot = path.with_suffix('.png')
    page.screenshot(shot)
    with Image.open(shot) as opened:
      shots.append(np.asarray(opened.convert('RGB')) / 255)
  assert not page.errors
  return np.stack(shots)


def psnr(shown: np.ndarray, expected: np.ndarray) -> float:
  """Returns the ratio in dB of colours in [0, 1]."""
  return float(-10 * np.log10(np.mean((shown - expected) ** 2)))


def write_beside(
  path: pathlib.Path, expected: np.ndarray, shown: np.ndarray
) -> None:
  """Writes renders [V, H, W, 3] above what three.js shows."""
  rows = [np.concatenate(list(row), 1) for row in (expected, shown)]
  both = turntable.to_uint8(np.concatenate(rows))
  Image.fromarray(both).save(path)


def _lit(material: dict) -> None:
  del material['extensions']


def _lit_and_glowing(material: dict) -> None:
  _lit(material)
  material |= {'emissiveTexture': {'index': 0}, 'emissiveFactor': [1, 1, 1]}


def _black_and_glowing(material: dict) -> None:
  _lit_and_glowing(material)
  material['pbrMetallicRoughness']['baseColorFactor'] = [0, 0, 0, 1]


MATERIALS = {
  'unlit': lambda material: None,
  'lit': _lit,
  'lit, and emissive too': _lit_and_glowing,
  'black, and emissive': _black_and_glowing,
}


@contextlib.contextmanager
def _material(change: Callable[[dict], None]) -> Iterator[None]:
  """Makes GLBs of another material."""
  own = glb._baked_material

  def changed() -> dict:
    tree = own()
    change(tree['materials'][0])
    return tree

  with mock.patch.object(glb, '_baked_material', changed):
    yield


def main(run: str, out: str) -> None:
  """Prints a line for each material and light."""
  avatar = opening.open_run(run)
  given, settings = (avatar.representation, avatar.params), avatar.run.results
  mesh = triangle_mesh.make_mesh(
    *given, settings.mesh_resolution, settings.texture_size
  )
  views, num_pixels = views_of(ANGLES), 320
  background = np.array(turntable.BACKGROUND)
  expected = images.render_images(*given, views, num_pixels, background)['rgb']
  folder = pathlib.Path(out)
  folder.mkdir(exist_ok=True)
  with tempfile.TemporaryDirectory() as work, chromium.browser(work) as page:
    path = pathlib.Path(work) / 'mesh.html'
    for name, change in MATERIALS.items():
      with _material(change):
        mesh_page.write(path, mesh)
      for light, script in (('page', ''), ('plain', PLAIN_LIGHT)):
        shown = screenshots(page, path, views, num_pixels, script)
        ratios = [psnr(*pair) for pair in zip(shown, expected)]
        print(f'{name}, {light} light:', *(f'{ratio:.1f}' for ratio in ratios))
        write_beside(folder / f'{name}, {light}.png', expected, shown)


if __name__ == '__main__':
  main(*sys.argv[1:])
