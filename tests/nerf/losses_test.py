import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.nerf import losses

POSTS = jnp.linspace(0, 1, 5)[None]
WEIGHTS = jnp.array([[0.0, 0.6, 0.3, 0.0]])
COARSE = jnp.array([[0.0, 0.5, 1.0]])


def test_interlevel_loss_is_zero_when_the_proposal_bounds_the_nerf():
  bound = jnp.array([[0.6, 0.3]])
  assert losses.interlevel(POSTS, WEIGHTS, COARSE, bound)[0] == 0
  assert losses.interlevel(POSTS, WEIGHTS, POSTS, WEIGHTS)[0] == 0


def test_interlevel_loss_is_the_relative_squared_excess():
  proposal = jnp.array([[0.4, 0.3]])
  answer = losses.interlevel(POSTS, WEIGHTS, COARSE, proposal)[0]
  # Only the bin of 0.6 is above its bound, by 0.2.
  assert answer == pytest.approx(0.2**2 / 0.6, rel=0.01)


def test_interlevel_loss_raises_the_proposal_only_where_it_is_too_low():
  gradient = jax.grad(
    lambda p: losses.interlevel(POSTS, WEIGHTS, COARSE, p).sum()
  )(jnp.array([[0.4, 0.5]]))
  assert gradient[0, 0] < 0 and gradient[0, 1] == 0


def test_interlevel_loss_never_moves_the_nerf():
  gradient = jax.grad(
    lambda w: losses.interlevel(POSTS, w, COARSE, jnp.array([[0.1, 0.0]])).sum()
  )(WEIGHTS)
  np.testing.assert_array_equal(gradient, 0)


def test_interlevel_loss_is_finite_for_empty_rays():
  value, gradient = jax.value_and_grad(
    lambda p: losses.interlevel(POSTS, 0 * WEIGHTS, COARSE, p).sum()
  )(jnp.zeros((1, 2)))
  assert value == 0 and np.all(np.isfinite(gradient))


def test_means_are_over_rays():
  assert losses.opacity_error(
    jnp.array([0.0, 0.5]), jnp.array([0.0, 1.0])
  ) == pytest.approx(0.125)
  assert losses.reconstruction(
    jnp.zeros((2, 3)), jnp.full((2, 3), 0.1)
  ) == pytest.approx(0.01)


def test_psnr_is_in_decibels_of_a_peak_of_one():
  assert losses.mse_to_psnr(jnp.array(1e-3)) == pytest.approx(30)
