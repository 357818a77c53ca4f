"""Gaussians in a `.ply`, drawn by numpy, beside the renders of their run.

  python -m tests.results.splat_shots RUN OUT

makes the Gaussians of a run's folder, draws them from the views of
`tests.results.mesh_shots`, prints the PSNR of each, and leaves a picture in the
folder OUT. Reader and renderer know nothing of `mmdist.results.splats`: they
are written after the definitions of 3D Gaussian splatting (Kerbl et al. 2023).
"""

import os
import pathlib
import sys

import numpy as np
from scipy import ndimage
from scipy.spatial import transform

from mmdist.nerf import images
from mmdist.results import glb
from mmdist.results import splats
from mmdist.results import turntable
from mmdist.run import opening
from tests.results import mesh_shots

NUM_PIXELS = 320
_LOW_PASS = 0.3  # Added to variances, in squared pixels, as renderers do.
_LEAST_ALPHA, _MOST_ALPHA = 1 / 255, 0.99  # Appendix C.


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Returns the columns of a binary `.ply` of float32, by name."""
  data = pathlib.Path(path).read_bytes()
  header, _, body = data.partition(b'end_header\n')
  kind, layout, count, *properties = header.decode('ascii').splitlines()
  assert (kind, layout) == ('ply', 'format binary_little_endian 1.0')
  assert count.startswith('element vertex ')
  names = [line.removeprefix('property float ') for line in properties]
  table = np.frombuffer(body, '<f4').reshape(int(count.split()[2]), len(names))
  return dict(zip(names, table.T.astype(np.float64), strict=True))


def column(table, *names):
  """Returns [N, K] of columns of a table."""
  return np.stack([table[name] for name in names], -1)


def matrices(table):
  """Returns the rotations [N, 3, 3] of a table; scipy has w last."""
  order = ('rot_1', 'rot_2', 'rot_3', 'rot_0')
  return transform.Rotation.from_quat(column(table, *order)).as_matrix()


def draw(table, camera, num_pixels, background):
  """Draws Gaussians, sorted by depth, over each other.

  Args:
    table: of `read`, in metres.
    camera: one `camera.Camera`, in world units.
    num_pixels: H = W.
    background: [3].

  Returns:
    Colours [H, W, 3] and opacities [H, W].
  """
  places, covariances, depth = _project(table, camera, num_pixels)
  order = np.argsort(depth)
  opacity = 1 / (1 + np.exp(-table['opacity']))
  dc = column(table, 'f_dc_0', 'f_dc_1', 'f_dc_2')
  colors = np.clip(0.5 + dc / (2 * np.sqrt(np.pi)), 0, 1)[order]
  pixels, numbers, alpha = _fragments(
    places[order], covariances[order], opacity[order], num_pixels
  )
  # By pixel; within a pixel from the nearest Gaussian to the farthest.
  order = np.lexsort([numbers, pixels])
  pixels, numbers, alpha = pixels[order], numbers[order], alpha[order]
  # The light that is left, in logarithms, before each fragment of its pixel.
  passed = np.cumsum(np.log1p(-alpha)) - np.log1p(-alpha)
  is_first = np.r_[True, pixels[1:] != pixels[:-1]]
  start = passed[np.flatnonzero(is_first)][np.cumsum(is_first) - 1]
  weights = alpha * np.exp(passed - start)
  total = [
    np.bincount(pixels, weights * channel, num_pixels**2)
    for channel in (np.ones(len(weights)), *colors[numbers].T)
  ]
  acc, *rgb = (image.reshape(num_pixels, num_pixels) for image in total)
  return np.stack(rgb, -1) + (1 - acc)[..., None] * background, acc


def _project(table, camera, num_pixels):
  """Returns [N, 2] pixels, their [N, 2, 2] covariances, and depths [N]."""
  pose = np.asarray(camera.camera_to_world, np.float64)
  turned, position = pose[:, :3], pose[:, 3] * glb.METRES_PER_UNIT
  local = (column(table, 'x', 'y', 'z') - position) @ turned
  x, y, depth = local[:, 0], local[:, 1], -local[:, 2]
  focal = num_pixels / 2 / float(camera.tan_half_fov)
  places = np.stack([x, -y], -1) * (focal / depth)[:, None] + num_pixels / 2
  zero = np.zeros_like(x)
  jacobian = (focal / depth)[:, None, None] * np.stack(
    [
      np.stack([1 + zero, zero, x / depth], -1),
      np.stack([zero, -1 + zero, -y / depth], -1),
    ],
    1,
  )
  sizes = np.exp(column(table, 'scale_0', 'scale_1', 'scale_2'))
  # [N, 2, 3]: the axes of each Gaussian, as they are seen.
  axes = jacobian @ turned.T @ (matrices(table) * sizes[:, None])
  covariances = axes @ axes.transpose(0, 2, 1) + _LOW_PASS * np.eye(2)
  return places, covariances, depth


def _fragments(places, covariances, opacity, num_pixels):
  """Returns, for each pixel of each Gaussian: pixel, Gaussian, alpha."""
  inverses = np.linalg.inv(covariances)
  # Three standard deviations, along the longer axis.
  widest = np.sqrt(np.linalg.eigvalsh(covariances)[:, 1])
  reach = np.ceil(3 * widest).astype(int)
  parts = []
  for size in np.unique(reach):
    chosen = np.flatnonzero(reach == size)
    window = np.stack(np.mgrid[-size : size + 1, -size : size + 1], -1)
    window = window.reshape(1, -1, 2)[..., ::-1]  # [1, K, (x, y)]
    cells = np.floor(places[chosen])[:, None].astype(int) + window
    offsets = cells + 0.5 - places[chosen][:, None]
    distance = np.einsum('nki,nij,nkj->nk', offsets, inverses[chosen], offsets)
    alpha = opacity[chosen, None] * np.exp(-distance / 2)
    alpha = np.minimum(alpha, _MOST_ALPHA)
    is_seen = (alpha >= _LEAST_ALPHA) & np.all(
      (cells >= 0) & (cells < num_pixels), -1
    )
    pixels = cells[..., 1] * num_pixels + cells[..., 0]
    numbers = np.broadcast_to(chosen[:, None], pixels.shape)
    parts.append([array[is_seen] for array in (pixels, numbers, alpha)])
  return [np.concatenate(columns) for columns in zip(*parts)]


def main(run: str, out: str) -> None:
  """Prints the ratio of each view."""
  avatar = opening.open_run(run)
  given = (avatar.representation, avatar.params)
  folder = pathlib.Path(out)
  folder.mkdir(exist_ok=True)
  path = folder / 'splats.ply'
  made = splats.make_splats(*given, avatar.run.results.mesh_resolution)
  splats.write(path, made)
  views = mesh_shots.views_of(mesh_shots.ANGLES)
  background = np.array(turntable.BACKGROUND)
  expected = images.render_images(*given, views, NUM_PIXELS, background, False)
  table, cameras = read(path), views.cameras()
  drawn = [
    draw(table, cameras.take(i), NUM_PIXELS, background)
    for i in range(len(mesh_shots.ANGLES))
  ]
  shown = np.stack([rgb for rgb, _ in drawn])
  for (rgb, acc), true, solid in zip(drawn, expected['rgb'], expected['acc']):
    # Three pixels inside of the outline.
    inside = ndimage.binary_erosion(solid > 0.99, iterations=3)
    print(
      f'{mesh_shots.psnr(rgb, true):.1f} dB; least opacity where the render is '
      f'solid: {acc[inside].min():.3f}'
    )
  mesh_shots.write_beside(folder / 'splats.png', expected['rgb'], shown)


if __name__ == '__main__':
  main(*sys.argv[1:])
