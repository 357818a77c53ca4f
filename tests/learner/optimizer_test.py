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


def test_the_optimiser_takes_the_rate_of_the_step_it_is_told():
  config = schema.LearnerConfig(
    adam_b1=0.0, adam_b2=0.0, code_learning_rate_ratio=1.0
  )
  optimizer = optimizer_lib.make_optimizer(config, 300)
  params = {'code': jnp.zeros(1)}
  state = optimizer.init(params)
  for step in (0, 1, 6, 100, 299):  # Steps between them were left out.
    updates, state = optimizer.update(
      {'code': jnp.ones(1)},
      optimizer_lib.at_step(state, jnp.int32(step)),
      params,
    )
    rate = np.float32(optimizer_lib.learning_rate_at(config, 300, step))
    # An ulp or two: the optimiser takes its power in float32.
    np.testing.assert_allclose(updates['code'], -rate, rtol=3e-7)


def test_adam_does_not_count_the_steps_that_were_left_out():
  optimizer = optimizer_lib.make_optimizer(schema.LearnerConfig(), 300)
  params = {'code': jnp.ones(2), 'nerf': jnp.ones(2)}
  before = optimizer.init(params)
  after = optimizer_lib.at_step(before, jnp.int32(9))
  assert jax.tree.structure(after) == jax.tree.structure(before)
  changed = [
    jax.tree_util.keystr(path)
    for (path, new), old in zip(
      jax.tree_util.tree_leaves_with_path(after),
      jax.tree.leaves(before),
      strict=True,
    )
    if np.any(new != old)
  ]
  assert changed == ['[0][1].count']  # Of the schedule, and of nothing else.


def test_where_the_code_moves_alone_the_proxies_follow_its_rate():
  config = schema.LearnerConfig(
    trainable='code', learning_rate=1e-3, code_learning_rate_ratio=30.0
  )
  optimizer = optimizer_lib.make_optimizer(config, 100)
  params = {'code': jnp.zeros(1), 'nerf': jnp.zeros(1)}
  for step in (0, 50):
    updates, _ = optimizer.update(
      {'code': jnp.ones(1), 'nerf': jnp.ones(1)},
      optimizer_lib.at_step(optimizer.init(params), jnp.int32(step)),
      params,
    )
    proxies = optimizer_lib.proxy_learning_rate_at(config, 100, step)
    # Adam's first step is the sign, times the rate.
    np.testing.assert_allclose(-2 * updates['code'], proxies, rtol=1e-5)
  assert optimizer_lib.proxy_learning_rate_at(config, 100, 0) == 6e-2


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


@pytest.mark.parametrize(
  'params',
  [
    jnp.ones(3),
    (jnp.ones(3), jnp.ones(2)),
    [jnp.ones(3)],
    {'weights': {'code': jnp.ones(2)}},
  ],
)
def test_parameters_of_any_structure_move_at_the_rate_of_the_weights(params):
  config = schema.LearnerConfig(learning_rate=0.5)
  adam = optimizer_lib.make_optimizer(config, 10)
  updates, _ = adam.update(params, adam.init(params), params)
  # Adam's first step has the size of the rate, whatever the gradient's is.
  for update in jax.tree.leaves(updates):
    np.testing.assert_allclose(update, -0.5, rtol=1e-4)


@pytest.mark.parametrize('trainable', schema.TRAINABLE)
def test_it_begins_as_optax_begins(trainable):
  config = schema.LearnerConfig(trainable=trainable)
  params = {'code': jnp.ones(3), 'nerf': {'kernel': jnp.ones((2, 3))}}
  optimizer = optimizer_lib.make_optimizer(config, 10)
  begun, expected = (
    optimizer_lib.init(optimizer, params),
    optimizer.init(params),
  )
  assert jax.tree.structure(begun) == jax.tree.structure(expected)
  for one, other in zip(
    jax.tree.leaves(begun), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype
