import colorsys
import math

import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from mmdist.cameras import orbits
from mmdist.evaluation import metrics
from mmdist.nerf import images
from tests.results import sphere_field


def disc_mask(resolution, radius=0.8):
  """Opacity of a disc in the middle of one [1, R, R] picture."""
  ticks = np.linspace(-1, 1, resolution)
  return (np.hypot(*np.meshgrid(ticks, ticks)) < radius)[None].astype(float)


def test_saturation_is_hsv_saturation():
  rng = np.random.default_rng(0)
  rgb = rng.uniform(size=(1, 8, 8, 3))
  expected = [colorsys.rgb_to_hsv(*pixel)[1] for pixel in rgb.reshape(-1, 3)]
  assert metrics.saturation(rgb, np.ones((1, 8, 8))) == pytest.approx(
    np.mean(expected)
  )


def test_saturation_ignores_the_background():
  acc = disc_mask(16)
  rgb = np.where(acc[..., None] > 0, [1.0, 0.5, 0.5], [0.0, 0.0, 1.0])
  assert metrics.saturation(rgb, acc) == pytest.approx(0.5)


def test_black_has_no_saturation_and_an_empty_picture_has_no_answer():
  black = np.zeros((1, 4, 4, 3))
  assert metrics.saturation(black, np.ones((1, 4, 4))) == 0
  assert math.isnan(metrics.saturation(black, np.zeros((1, 4, 4))))


def test_detail_of_noise_is_twenty_times_its_variance():
  noise = np.random.default_rng(0).normal(0, 0.1, (1, 200, 200, 1))
  rgb = np.broadcast_to(0.5 + noise, (1, 200, 200, 3))
  # The Laplacian weighs -4, 1, 1, 1, 1: the squares sum to 20. The standard
  # error of a variance of 40,000 correlated pixels is about 2 %.
  answer = metrics.detail(rgb, np.ones((1, 200, 200)))
  assert answer == pytest.approx(20 * 0.01, rel=0.05)


def test_a_ramp_has_no_detail_and_a_silhouette_is_not_detail():
  acc = disc_mask(32)
  ramp = np.linspace(0, 1, 32)[:, None, None] * np.ones((1, 32, 32, 3))
  rgb = np.where(acc[..., None] > 0, ramp, 1.0)
  assert metrics.detail(rgb, acc) == pytest.approx(0, abs=1e-20)


def test_detail_of_no_head_is_zero():
  assert metrics.detail(np.ones((1, 8, 8, 3)), np.zeros((1, 8, 8))) == 0


def tilted_normals(resolution, angles, rng):
  """Normals around +z, tilted by `angles` [R, R] in random directions."""
  turn = rng.uniform(0, 2 * np.pi, (resolution, resolution))
  return np.stack(
    [
      np.sin(angles) * np.cos(turn),
      np.sin(angles) * np.sin(turn),
      np.cos(angles),
    ],
    -1,
  )[None]


def test_normal_noise_of_a_known_angle_is_found():
  rng = np.random.default_rng(0)
  angle = math.radians(10)
  normals = tilted_normals(128, np.full((128, 128), angle), rng)
  answer = metrics.normal_noise_deg((normals + 1) / 2, np.ones((1, 128, 128)))
  # 25 neighbours, one of them the pixel itself, in perpendicular directions:
  # the square of the distance to their mean is 24 / 25 of the tilt's.
  assert answer == pytest.approx(10 * math.sqrt(24 / 25), rel=0.02)


def test_normal_noise_grows_with_the_noise():
  answers = []
  for degrees in (2, 8, 20):
    angles = np.full((48, 48), math.radians(degrees))
    normals = tilted_normals(48, angles, np.random.default_rng(0))
    answers.append(metrics.normal_noise_deg((normals + 1) / 2, disc_mask(48)))
  assert answers == sorted(answers)


def test_a_plane_has_no_normal_noise_up_to_its_silhouette():
  acc = disc_mask(32)
  normals = np.where(acc[..., None] > 0, [0.0, 0.6, 0.8], 0.0)
  # The arc cosine of 1 minus a rounding error.
  answer = metrics.normal_noise_deg((normals + 1) / 2, acc)
  assert answer == pytest.approx(0, abs=1e-5)


def sphere_normals(resolution, radius):
  """Normals of a ball seen from afar, and its opacity; 0 outside of it."""
  ticks = np.linspace(-1, 1, resolution) / radius
  x, y = np.meshgrid(ticks, -ticks)
  depth = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
  # Where it bends away from the eye, a pixel spans many degrees.
  return np.stack([x, y, depth], -1)[None], disc_mask(resolution, 0.8 * radius)


def test_a_sphere_is_smooth_and_noise_on_it_is_found():
  normals, acc = sphere_normals(64, 0.9)
  smooth = metrics.normal_noise_deg((normals + 1) / 2, acc)
  assert 0 < smooth < 1
  angles = np.full((64, 64), math.radians(10))
  noise = tilted_normals(64, angles, np.random.default_rng(0))
  # A small tilt of +z, added, tilts other directions by less.
  rough = normals + noise - [0, 0, 1]
  rough /= np.linalg.norm(rough, axis=-1, keepdims=True)
  answer = metrics.normal_noise_deg((rough + 1) / 2, acc)
  assert 5 * smooth < answer < 10


def render_ball(num_views, resolution=48):
  """Renders an orbit of the ball, and its cameras."""
  views = orbits.turntable(num_views)
  params = sphere_field.params_of(0.7)
  pictures = images.render_images(
    sphere_field.representation(), params, views, resolution, np.ones(3)
  )
  return pictures, views.cameras()


def consistency(pictures, cameras):
  return metrics.view_consistency(
    pictures['rgb'], pictures['depth'], pictures['acc'], cameras
  )


def test_a_solid_ball_looks_alike_from_neighbouring_views():
  # The seam between red and blue is half a pixel off here and there.
  assert consistency(*render_ball(12)) > 0.98


def test_colour_that_turns_with_the_camera_is_inconsistent():
  pictures, cameras = render_ball(12)
  # Each view is painted in a grey of its own, 0.2 from its neighbours.
  greys = 0.4 + 0.2 * (np.arange(12) % 2)
  pictures['rgb'] = np.ones((12, 48, 48, 3)) * greys[:, None, None, None]
  assert consistency(pictures, cameras) == pytest.approx(0.8, abs=1e-6)


def test_views_that_share_no_point_have_no_answer():
  pictures, cameras = render_ball(2)  # Front and back.
  pictures['acc'] = np.zeros_like(pictures['acc'])
  assert math.isnan(consistency(pictures, cameras))


def test_consistency_needs_two_views():
  pictures, cameras = render_ball(1)
  with pytest.raises(ValueError, match='compares views; got 1'):
    consistency(pictures, cameras)


def test_a_hidden_point_is_not_compared():
  pictures, cameras = render_ball(2)
  # The front's points lie behind the back view's surface: all hidden, though
  # both pictures show a head in the same place.
  assert math.isnan(consistency(pictures, cameras))


def first_camera(views):
  return views.cameras().take(0)


def test_depth_of_the_ball_is_the_distance_to_its_surface():
  pictures, cameras = render_ball(1)
  camera = cameras.take(0)
  depth = metrics.surface_depth(
    camera, pictures['depth'][0], pictures['acc'][0]
  )
  points = metrics.unproject(camera, depth)[pictures['acc'][0] > 0.99]
  distance = np.linalg.norm(points, axis=-1)
  # Light goes 1 / 60 deep on average, and less along the normal at the rim;
  # the quadrature's steps are 0.02.
  np.testing.assert_allclose(distance, 0.7, atol=0.04)


def test_projection_is_the_inverse_of_unprojection():
  camera = first_camera(orbits.turntable(1))
  depth = np.random.default_rng(0).uniform(2, 4, (6, 6))
  points = metrics.unproject(camera, depth).reshape(-1, 3)
  rows, columns, distance = metrics.project(camera, points, 6)
  expected = np.mgrid[:6, :6].reshape(2, -1)
  # Rays are float32.
  np.testing.assert_allclose([rows, columns], expected, atol=1e-5)
  np.testing.assert_allclose(distance, depth.ravel(), rtol=1e-6)


def noisy_pair():
  rng = np.random.default_rng(0)
  image = rng.uniform(size=(32, 40, 3))
  return image, np.clip(image + rng.normal(0, 0.1, image.shape), 0, 1)


def test_psnr_agrees_with_skimage():
  image, noisy = noisy_pair()
  expected = skimage_metrics.peak_signal_noise_ratio(image, noisy, data_range=1)
  assert metrics.psnr(image, noisy) == pytest.approx(expected)
  assert metrics.psnr(image, image) == math.inf


def test_ssim_agrees_with_skimage():
  image, noisy = noisy_pair()
  expected = skimage_metrics.structural_similarity(
    image,
    noisy,
    data_range=1,
    channel_axis=-1,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
  )
  assert metrics.ssim(image, noisy) == pytest.approx(expected, abs=1e-6)
  assert metrics.ssim(image, image) == pytest.approx(1)
