import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmdist.learner import muon

RATE = 1e-2
ADAM = {'b2': 0.99, 'eps': 1e-15}


@pytest.fixture(name='params')
def fixture_params():
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  return {
    'nerf': {'kernel': draw(24, 16), 'bias': draw(16), 'output': draw(16, 3)},
    'codes': draw(40, 12),
    'code': draw(12),
  }


def move(optimizer, params, grads):
  return optimizer.update(grads, optimizer.init(params), params)[0]


def test_a_matrix_moves_alike_in_all_directions(params):
  # A gradient that is nearly of rank one: plain steps would follow it.
  steep = 0.1 * jnp.outer(jnp.arange(1.0, 25.0), jnp.arange(1.0, 17.0))
  grads = {**params, 'nerf': {**params['nerf']}}
  grads['nerf']['kernel'] = steep + params['nerf']['kernel']
  given = np.linalg.svd(grads['nerf']['kernel'], compute_uv=False)
  assert given[0] > 50 * given[-1]
  update = move(muon.make(lambda _: RATE, **ADAM), params, grads)
  sizes = np.linalg.svd(update['nerf']['kernel'], compute_uv=False)
  assert sizes[0] < 2 * sizes[-1]
  # And downhill.
  assert jnp.vdot(update['nerf']['kernel'], grads['nerf']['kernel']) < 0


def test_an_entry_moves_so_many_times_as_far_as_by_adam(params):
  update = move(muon.make(lambda _: RATE, **ADAM), params, params)
  step = float(jnp.sqrt(jnp.mean(update['nerf']['kernel'] ** 2)))
  # Adam's steps are 0.2 of its rate in the mean; the orthogonal matrix is found
  # roughly.
  assert step == pytest.approx(0.2 * muon.RATE_RATIO * RATE, rel=0.3)


def test_biases_outputs_and_codes_are_adams(params):
  updates = [
    move(optimizer, params, params)
    for optimizer in (
      muon.make(lambda _: RATE, **ADAM),
      optax.adam(RATE, nesterov=True, **ADAM),
    )
  ]
  by_muon, by_adam = (
    {jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(update)}
    for update in updates
  )
  same = {
    name
    for name in by_adam
    if np.allclose(by_muon[name], by_adam[name], atol=1e-7)
  }
  assert by_adam.keys() - same == {"['nerf']['kernel']"}
