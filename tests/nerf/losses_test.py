import jax
import numpy as np
import pytest

from mmdist.nerf import losses
from tests.core import compiling

POSTS = np.linspace(0, 1, 5, dtype=np.float32)[None]
WEIGHTS = np.float32([[0.0, 0.6, 0.3, 0.0]])
COARSE = np.float32([[0.0, 0.5, 1.0]])

interlevel = compiling.compiled(losses.interlevel)


@compiling.compiled
@jax.value_and_grad
def of_proposal(proposal, weights):
  return losses.interlevel(POSTS, weights, COARSE, proposal).sum()


def test_interlevel_loss_is_zero_when_the_proposal_bounds_the_nerf():
  bound = np.float32([[0.6, 0.3]])
  assert interlevel(POSTS, WEIGHTS, COARSE, bound)[0] == 0
  assert interlevel(POSTS, WEIGHTS, POSTS, WEIGHTS)[0] == 0


def test_interlevel_loss_is_the_relative_squared_excess():
  proposal = np.float32([[0.4, 0.3]])
  answer = interlevel(POSTS, WEIGHTS, COARSE, proposal)[0]
  # Only the bin of 0.6 is above its bound, by 0.2.
  assert answer == pytest.approx(0.2**2 / 0.6, rel=0.01)


def test_interlevel_loss_raises_the_proposal_only_where_it_is_too_low():
  _, gradient = of_proposal(np.float32([[0.4, 0.5]]), WEIGHTS)
  assert gradient[0, 0] < 0 and gradient[0, 1] == 0


def test_interlevel_loss_never_moves_the_nerf():
  proposal = np.float32([[0.1, 0.0]])
  gradient = compiling.compiled(
    jax.grad(lambda w: losses.interlevel(POSTS, w, COARSE, proposal).sum())
  )
  np.testing.assert_array_equal(gradient(WEIGHTS), 0)


def test_interlevel_loss_is_finite_for_empty_rays():
  value, gradient = of_proposal(np.zeros((1, 2), np.float32), 0 * WEIGHTS)
  assert value == 0 and np.all(np.isfinite(gradient))


def test_means_are_over_rays():
  assert losses.opacity_error(
    np.array([0.0, 0.5]), np.array([0.0, 1.0])
  ) == pytest.approx(0.125)
  assert losses.reconstruction(
    np.zeros((2, 3)), np.full((2, 3), 0.1)
  ) == pytest.approx(0.01)


def test_psnr_is_in_decibels_of_a_peak_of_one():
  assert losses.mse_to_psnr(np.array(1e-3)) == pytest.approx(30)
