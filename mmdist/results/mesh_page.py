"""A page on which the GLB itself is turned, as another program shows it.

The page is trimesh's, with three.js inside. Nothing is loaded from elsewhere,
and a browser is told so. The report's own viewer (`mesh_viewer`) shows fewer
triangles, without textures.
"""

import os

import numpy as np
from trimesh.viewer import notebook

from mmdist.cameras import orbits
from mmdist.core import atomic
from mmdist.results import glb
from mmdist.results import triangle_mesh
from mmdist.results import turntable

# The page's own script has made the renderer and the scene, and waits for the
# model. It would show linear light as if it were display colours.
_SCRIPT = """<script>
renderer.outputEncoding = THREE.sRGBEncoding;
scene.background = new THREE.Color({background});  // Shown as it is.
scene.add(new THREE.AmbientLight(0xffffff, 0.4));
tracklight.intensity = 0.8;
</script>
"""
# Models come by data addresses, their pictures by those of blobs.
_POLICY = (
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
  'connect-src data: blob:; img-src data: blob:'
)
_AZIMUTH, _ELEVATION = 0.5, 0.1  # Where a page begins, as the report does.
# Of the ball around a mesh's box, whose corners are empty.
_FRAME = 0.85


class _File:
  """What trimesh asks of a scene that it shows: it has a camera, and a GLB."""

  camera = None  # The GLB has its own.

  def __init__(self, data: bytes):
    self._data = data

  def export(self, file_type: str) -> bytes:
    if file_type != 'glb':
      raise ValueError(f'asked for {file_type}; this is a GLB.')
    return self._data


def to_html(mesh: triangle_mesh.TriangleMesh) -> str:
  """Returns the page as text."""
  low, high = mesh.surface.bounds
  views = orbits.make_views(
    np.array([_AZIMUTH]),
    np.array([_ELEVATION]),
    orbits.CAMERA_DISTANCE,
    [(low + high) / 2],
    [_FRAME * np.linalg.norm(high - low) / 2],
  )
  data = glb.to_bytes(mesh.shown, views.cameras().take(0))
  page = notebook.scene_to_html(_File(data))
  policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
  script = _SCRIPT.format(
    background=', '.join(f'{value:g}' for value in turntable.BACKGROUND)
  )
  head, body = page.split('<head>', 1)
  body, end = body.rsplit('</body>', 1)
  return f'{head}<head>\n{policy}{body}{script}</body>{end}'


def write(path: str | os.PathLike, mesh: triangle_mesh.TriangleMesh) -> None:
  """Writes the page, all of it or nothing."""
  atomic.write_text(path, to_html(mesh))
