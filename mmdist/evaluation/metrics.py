"""Numbers about pictures of an avatar that need no network.

Owns image statistics in numpy. `mmdist.evaluation.agreement` says how well a
picture follows its prompt.
"""

import functools

import jax
import numpy as np
from scipy import ndimage

from mmdist.cameras import camera as camera_lib
from mmdist.core import arrays
from mmdist.core import errors
from mmdist.core import vectors as vectors_lib

# A pixel belongs to the head if at least this much of it is covered.
HEAD_OPACITY = 0.9
# A point this much behind what another view shows is hidden there; the head's
# radius is about 1.
OCCLUSION_MARGIN = 0.05


def saturation(rgb: np.ndarray, acc: np.ndarray) -> float:
  """Mean HSV saturation of the head's pixels.

  Args:
    rgb: [..., H, W, 3] in [0, 1].
    acc: [..., H, W] opacity.

  Returns:
    A number in [0, 1]; 0 is grey.
  """
  top, bottom = rgb.max(-1), rgb.min(-1)
  values = (top - bottom) / np.maximum(top, 1e-6)
  return _mean_over(values, _head(acc))


def detail(rgb: np.ndarray, acc: np.ndarray) -> float:
  """Variance of the luminance's Laplacian inside the head.

  The common measure of sharpness; it grows with texture, with edges, and with
  noise. Compare pictures of one resolution only.

  Args:
    rgb: [V, H, W, 3] in [0, 1].
    acc: [V, H, W] opacity.

  Returns:
    The variance in squared luminance per pixel^4, mean over views, >= 0.

  Source: Pech-Pacheco et al. 2000, "Diatom autofocusing".
  """
  luminance = rgb @ np.array([0.2126, 0.7152, 0.0722])
  laplacian = np.stack([ndimage.laplace(view) for view in luminance])
  inside = _interior(_head(acc), 1)
  return float(
    np.mean(
      [
        np.var(view[mask]) if mask.any() else 0.0
        for view, mask in zip(laplacian, inside)
      ]
    )
  )


def normal_noise_deg(
  normals: np.ndarray, acc: np.ndarray, window: int = 5
) -> float:
  """Mean angle in degrees between normals and their smoothed neighbourhood.

  Args:
    normals: [V, H, W, 3] coloured (n + 1) / 2.
    acc: [V, H, W] opacity. Pixels whose window reaches beyond the head are
      left out: a silhouette is no noise.
    window: side in pixels of the square that is averaged, odd.

  Returns:
    Degrees; 0 for a plane, and small for anything smooth. Of the same order
    as the mean angle of independent noise, a little less because a pixel is a
    part of its own neighbourhood.
  """
  vectors = vectors_lib.unit(np.asarray(normals, np.float64) * 2 - 1, 1e-9)
  smooth = vectors_lib.unit(
    ndimage.uniform_filter(vectors, (0, window, window, 0)), 1e-9
  )
  cosine = np.clip(np.sum(vectors * smooth, -1), -1, 1)
  inside = _interior(_head(acc), window // 2)
  return float(np.degrees(_mean_over(np.arccos(cosine), inside)))


def view_consistency(
  rgb: np.ndarray,
  depth: np.ndarray,
  acc: np.ndarray,
  cameras: camera_lib.Camera,
) -> float:
  """How alike a surface point looks from neighbouring views of an orbit.

  Every head pixel of view i is carried by its depth into view i + 1 (the last
  one's neighbour is the first) and compared there with what that view shows,
  unless another surface hides it.

  Args:
    rgb: [V, H, W, 3] in [0, 1], V >= 2.
    depth: [V, H, W] expected distance along the ray, in which light that
      passes the head counts as `far` (see `surface_depth`).
    acc: [V, H, W] opacity.
    cameras: [V] cameras, neighbours a small angle apart.

  Returns:
    1 - mean absolute difference of colours, in [0, 1]; 1 is the same colour
    everywhere. NaN if no point is seen twice.
  """
  num_views = len(rgb)
  if num_views < 2:
    raise errors.UserError(
      f'consistency compares views; got {num_views} of them.'
    )
  views = [
    _View(rgb[i], depth[i], acc[i], cameras.take(i)) for i in range(num_views)
  ]
  pairs = zip(views, views[1:] + views[:1])
  differences = np.concatenate([_reprojected(*pair) for pair in pairs])
  return float(1 - differences.mean()) if differences.size else float('nan')


class _View:
  """One picture, and where its head's surface is."""

  def __init__(
    self,
    rgb: np.ndarray,
    depth: np.ndarray,
    acc: np.ndarray,
    camera: camera_lib.Camera,
  ):
    self.rgb, self.camera = rgb, camera
    # Silhouettes mix colours, so one pixel of margin.
    self.head = _interior(_head(acc)[None], 1)[0]
    self.depth = surface_depth(camera, depth, acc)


def _reprojected(view: _View, neighbor: _View) -> np.ndarray:
  """Returns [N, 3] absolute differences of points that both views see."""
  points = unproject(view.camera, view.depth)[view.head]
  rows, columns, distance = project(neighbor.camera, points, len(view.rgb))
  inside = _sample(neighbor.head.astype(np.float64), rows, columns) > 0.99
  behind = distance - _sample(neighbor.depth, rows, columns)
  seen = inside & (behind < OCCLUSION_MARGIN)
  shown = _sample(neighbor.rgb, rows, columns)
  return np.abs(shown - view.rgb[view.head])[seen]


def surface_depth(
  camera: camera_lib.Camera, depth: np.ndarray, acc: np.ndarray
) -> np.ndarray:
  """Takes the light that passed the head out of an expected depth.

  Args:
    camera: a single camera.
    depth: [H, W] expected distance, light that passes counting as `far`.
    acc: [H, W] opacity.

  Returns:
    [H, W] mean distance of what the ray hit; meaningless where acc is 0.
  """
  far = np.asarray(_rays(camera, len(depth)).far)[..., 0]
  return (depth - (1 - acc) * far) / np.maximum(acc, 1e-3)


def unproject(camera: camera_lib.Camera, depth: np.ndarray) -> np.ndarray:
  """Returns [H, W, 3] world points of one camera's [H, W] depth picture."""
  rays = _rays(camera, len(depth))
  directions = np.asarray(rays.directions)
  return np.asarray(rays.origins) + depth[..., None] * directions


def project(
  camera: camera_lib.Camera, points: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Finds where one camera sees world points; the inverse of `unproject`.

  Args:
    camera: a single camera.
    points: [N, 3] in front of the camera.
    resolution: H = W in pixels.

  Returns:
    rows [N] and columns [N] in pixels, whole numbers at pixel centres, and
    the distance [N] from the camera.
  """
  pose = np.asarray(camera.camera_to_world, np.float64)
  local = (points - pose[:, 3]) @ pose[:, :3]
  tangents = local[:, :2] / -local[:, 2:] / np.asarray(camera.tan_half_fov)
  columns = (tangents[:, 0] + 1) / 2 * resolution - 0.5
  rows = (1 - tangents[:, 1]) / 2 * resolution - 0.5
  return rows, columns, np.linalg.norm(local, axis=-1)


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
  """Peak signal-to-noise ratio in dB of images in [0, 1]; inf if equal."""
  difference = np.asarray(image, np.float64) - np.asarray(reference, np.float64)
  error = np.mean(difference**2)
  return float(-10 * np.log10(error)) if error > 0 else float('inf')


def ssim(image: np.ndarray, reference: np.ndarray) -> float:
  """Structural similarity of two [H, W, 3] images in [0, 1]; 1 if equal.

  Gaussian windows of sigma 1.5, 11 pixels wide; the border of 5 pixels, whose
  windows reach beyond the picture, is left out.

  Source: Wang et al. 2004, eq. 13.
  """
  image = np.asarray(image, np.float64)
  reference = np.asarray(reference, np.float64)

  def smooth(x: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(x, (1.5, 1.5, 0), radius=(5, 5, 0))

  mean_a, mean_b = smooth(image), smooth(reference)
  variance_a = smooth(image**2) - mean_a**2
  variance_b = smooth(reference**2) - mean_b**2
  covariance = smooth(image * reference) - mean_a * mean_b
  c1, c2 = 0.01**2, 0.03**2
  similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
  similarity /= mean_a**2 + mean_b**2 + c1
  similarity /= variance_a + variance_b + c2
  return float(similarity[5:-5, 5:-5].mean())


def _head(acc: np.ndarray) -> np.ndarray:
  return np.asarray(acc) > HEAD_OPACITY


def _interior(mask: np.ndarray, margin: int) -> np.ndarray:
  """Keeps the pixels of [V, H, W] masks whose square neighbourhood is in."""
  square = np.ones((1, 2 * margin + 1, 2 * margin + 1), bool)
  return ndimage.binary_erosion(mask, square)


def _mean_over(values: np.ndarray, mask: np.ndarray) -> float:
  """Returns the mean of `values` where `mask`, NaN where there is none."""
  return float(values[mask].mean()) if mask.any() else float('nan')


@functools.partial(jax.jit, static_argnums=1)
def _rays(camera: camera_lib.Camera, resolution: int) -> arrays.Rays:
  return camera_lib.camera_rays(camera, resolution, np.zeros(3, np.float32))


def _sample(
  image: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
  """Interpolates [H, W] or [H, W, 3] linearly; 0 outside the picture."""
  planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image[None]
  values = [
    ndimage.map_coordinates(plane, [rows, columns], order=1) for plane in planes
  ]
  return np.stack(values, -1) if image.ndim == 3 else values[0]
