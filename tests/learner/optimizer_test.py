"""The learning-rate law, and who may move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.learner import optimizer as optimizer_lib


def test_the_rate_decays_exponentially_to_its_final_ratio():
  config = schema.LearnerConfig(
    learning_rate=1e-3, final_learning_rate_ratio=0.25
  )
  rates = [optimizer_lib.learning_rate_at(config, 100, s) for s in (0, 50, 100)]
  assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4])


def test_a_ratio_of_one_keeps_the_rate():
  config = schema.LearnerConfig(final_learning_rate_ratio=1.0)
  assert optimizer_lib.learning_rate_at(config, 10, 7) == config.learning_rate


def test_proxies_have_twice_the_rate_at_every_step():
  config = schema.LearnerConfig()
  for step in range(0, 300, 37):
    ours = optimizer_lib.learning_rate_at(config, 300, step)
    proxies = optimizer_lib.proxy_learning_rate_at(config, 300, step)
    assert proxies == 2 * ours


def test_the_optimiser_follows_the_law():
  config = schema.LearnerConfig(
    adam_b1=0.0, adam_b2=0.0, code_learning_rate_ratio=1.0
  )
  optimizer = optimizer_lib.make_optimizer(config, 20)
  params = {'code': jnp.zeros(1)}
  state = optimizer.init(params)
  for step in range(20):
    updates, state = optimizer.update({'code': jnp.full(1, 3.0)}, state, params)
    # With both moments forgotten Adam steps by the sign, times the rate.
    expected = -optimizer_lib.learning_rate_at(config, 20, step)
    np.testing.assert_allclose(updates['code'], expected, rtol=1e-5)


def test_code_alone_leaves_the_rest_without_an_update():
  config = schema.LearnerConfig(trainable='code')
  optimizer = optimizer_lib.make_optimizer(config, 10)
  params = {
    'code': jnp.ones(2),
    'nerf': {'w': jnp.ones(3)},
    'proposal': [jnp.ones(1)],
  }
  updates, _ = optimizer.update(params, optimizer.init(params), params)
  assert np.all(updates['code'] != 0)
  assert not any(
    np.any(leaf)
    for leaf in jax.tree.leaves((updates['nerf'], updates['proposal']))
  )


def test_the_code_moves_faster_by_its_ratio():
  config = schema.LearnerConfig(code_learning_rate_ratio=8.0)
  optimizer = optimizer_lib.make_optimizer(config, 10)
  params = {'code': jnp.ones(2), 'nerf': jnp.ones(2)}
  updates, _ = optimizer.update(params, optimizer.init(params), params)
  np.testing.assert_allclose(updates['code'], 8 * updates['nerf'], rtol=1e-5)


def test_another_choice_is_refused():
  config = schema.LearnerConfig(trainable='nothing')
  with pytest.raises(ValueError, match="'nothing'; expected 'all' or 'code'"):
    optimizer_lib.make_optimizer(config, 10)
