import jax
import numpy as np
import pytest

from mmdist.nerf import stepfun
from tests.core import compiling

cdf_of = compiling.compiled(stepfun.weights_to_cdf)
invert_cdf = compiling.compiled(stepfun.invert_cdf)
outer_measure = compiling.compiled(stepfun.outer_measure)
resample = compiling.compiled(stepfun.resample, static_argnums=2)
uniform_sdist = compiling.compiled(stepfun.uniform_sdist, static_argnums=(0, 1))


def random_histograms(seed=0, num_rays=7, num_bins=9):
  rng = np.random.default_rng(seed)
  sdist = np.sort(rng.uniform(0, 1, (num_rays, num_bins + 1)), -1)
  weights = rng.exponential(1, (num_rays, num_bins))
  weights[rng.uniform(size=weights.shape) < 0.3] = 0
  return np.float32(sdist), np.float32(weights + 1e-6)


def slow_measure(sdist, envelope, weights, counts):
  """Sums the weights of bins [a, b] for which `counts(a, b, low, high)`."""
  answer = np.zeros((sdist.shape[0], sdist.shape[1] - 1))
  for n, i in np.ndindex(answer.shape):
    for j in range(weights.shape[1]):
      bin_ = envelope[n, j], envelope[n, j + 1]
      if counts(*bin_, sdist[n, i], sdist[n, i + 1]):
        answer[n, i] += weights[n, j]
  return answer


def test_cdf_goes_from_zero_to_one():
  _, weights = random_histograms()
  cdf = cdf_of(weights)
  np.testing.assert_array_equal(cdf[:, 0], 0)
  np.testing.assert_allclose(cdf[:, -1], 1, rtol=1e-6)
  np.testing.assert_allclose(
    np.diff(cdf), weights / weights.sum(-1, keepdims=True), atol=1e-6
  )


def test_inverting_a_cdf_is_linear_interpolation():
  sdist, weights = random_histograms()
  cdf = cdf_of(weights)
  u = np.float32(np.random.default_rng(1).uniform(0, 1, (7, 20)))
  expected = np.stack([np.interp(*ray) for ray in zip(u, cdf, sdist)])
  answer = invert_cdf(sdist, cdf, u)
  # Bins of weight 1e-6 have slopes of 1e6, and the CDF is rounded to 6e-8.
  np.testing.assert_allclose(answer, expected, atol=0.1)
  assert np.median(np.abs(answer - expected)) < 1e-5


def test_new_posts_without_a_key_are_the_middles_of_even_quantiles():
  sdist = np.linspace(0, 1, 5, dtype=np.float32)[None]
  weights = np.float32([[0.0, 1.0, 1.0, 0.0]])
  new_sdist = resample(sdist, weights, 3)
  np.testing.assert_allclose(
    new_sdist, [[0.3125, 0.4375, 0.5625, 0.6875]], atol=1e-6
  )


def test_new_posts_fall_into_bins_in_proportion_to_their_weights():
  sdist, weights = random_histograms(num_rays=1)
  many = np.tile(sdist, (4000, 1)), np.tile(weights, (4000, 1))
  uniforms = jax.random.uniform(jax.random.key(0), (len(many[0]), 16))
  new_sdist = resample(*many, 15, uniforms)
  counts, _ = np.histogram(new_sdist, sdist[0])
  # 64,000 stratified draws: a share errs by less than 0.002.
  np.testing.assert_allclose(
    counts / counts.sum(), weights[0] / weights.sum(), atol=0.005
  )


@pytest.mark.parametrize('key', [None, jax.random.key(3)])
def test_new_posts_increase_and_stay_on_the_ray(key):
  sdist, weights = random_histograms()
  uniforms = None if key is None else jax.random.uniform(key, (len(sdist), 17))
  new_sdist = resample(sdist, weights, 16, uniforms)
  assert new_sdist.shape == (7, 17)
  assert np.all(np.diff(new_sdist) >= 0)
  assert np.all(new_sdist >= sdist[:, :1])
  assert np.all(new_sdist <= sdist[:, -1:] + 1e-6)


def test_no_gradient_flows_through_new_posts():
  sdist, weights = random_histograms()
  gradient = compiling.compiled(
    jax.grad(lambda w: stepfun.resample(sdist, w, 4).sum())
  )
  np.testing.assert_array_equal(gradient(weights), 0)


def test_even_posts_keep_their_ends_and_their_order_when_jittered():
  even = uniform_sdist(3, 8)
  np.testing.assert_allclose(even, np.tile(np.linspace(0, 1, 9), (3, 1)))
  uniforms = jax.random.uniform(jax.random.key(0), (3, 7))
  jittered = uniform_sdist(3, 8, uniforms)
  assert np.all(jittered[:, 0] == 0) and np.all(jittered[:, -1] == 1)
  assert np.all(np.diff(jittered) >= 0)
  assert 0 < np.abs(jittered - even).max() <= 0.5 / 8


@pytest.mark.parametrize('seed', range(3))
def test_outer_measure_sums_every_bin_that_overlaps(seed):
  envelope, weights = random_histograms(seed)
  sdist, _ = random_histograms(seed + 10, num_bins=5)
  expected = slow_measure(
    sdist, envelope, weights, lambda a, b, low, high: a < high and b > low
  )
  answer = outer_measure(sdist, envelope, weights)
  np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_a_histogram_is_its_own_outer_measure():
  sdist, weights = random_histograms()
  outer = outer_measure(sdist, sdist, weights)
  np.testing.assert_allclose(outer, weights, rtol=1e-6)


def test_a_histogram_without_weight_gives_finite_posts():
  sdist, weights = random_histograms()
  new_sdist = resample(sdist, 0 * weights, 4)
  assert np.all(np.isfinite(new_sdist))
