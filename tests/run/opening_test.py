"""A run's newest checkpoint is opened with the structure of `init` alone."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.run import opening
from mmdist.run import workdir as workdir_lib
from tests.run import saved_steps


def traced(key):
  # What draws numbers for nothing costs seconds of compiling.
  assert isinstance(key, jax.core.Tracer)
  return {'nerf': [jax.random.normal(key, (4, 5))]}


def of_numpy(key):
  rng = np.random.default_rng(int(jax.random.key_data(key)[-1]))
  return {'nerf': [jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)]}


@pytest.mark.parametrize('init', [traced, of_numpy])
def test_the_parameters_are_those_of_the_newest_checkpoint(tmp_path, init):
  run = saved_steps.make_run()
  workdir_lib.claim(tmp_path, run)
  saved_steps.save_steps(tmp_path, [2, 4], run)
  avatar = opening.open_run(tmp_path, types.SimpleNamespace(init=init))
  assert avatar.step == 4
  expected = saved_steps.make_state(4).params
  np.testing.assert_array_equal(avatar.params['nerf'][0], expected['nerf'][0])


def test_parameters_of_another_shape_are_refused(tmp_path):
  run = saved_steps.make_run()
  workdir_lib.claim(tmp_path, run)
  saved_steps.save_steps(tmp_path, [2], run)
  other = types.SimpleNamespace(init=lambda key: {'nerf': [jnp.zeros((4, 6))]})
  with pytest.raises(ValueError, match=r'expected float32 \(4, 6\)'):
    opening.open_run(tmp_path, other)
