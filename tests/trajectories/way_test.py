import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.trajectories import way

PARAMS = {
  'mlp': {'kernel': jnp.arange(6.0).reshape(2, 3)},
  'code': jnp.float32(2.5),
}


def test_parameters_come_back_to_the_last_bit(tmp_path):
  folder = tmp_path / 'way'
  for step in (10, 2):
    way.write(folder, step, {**PARAMS, 'code': jnp.float32(step / 3)})
  assert way.steps_in(folder) == [2, 10]
  found = way.read(folder, 10, PARAMS)
  np.testing.assert_array_equal(found['mlp']['kernel'], PARAMS['mlp']['kernel'])
  assert found['code'] == np.float32(10 / 3)


def test_there_is_no_way_before_the_first_step(tmp_path):
  assert way.steps_in(tmp_path / 'way') == []


@pytest.mark.parametrize('num_steps', [1, 7, 18, 19, 300])
@pytest.mark.parametrize('num_points', [1, 4, 18])
def test_points_are_evenly_spaced_and_not_too_many(num_steps, num_points):
  kept = [
    step
    for step in range(num_steps + 1)
    if way.is_kept(step, num_steps, num_points)
  ]
  assert 1 <= len(kept) <= num_points
  assert kept[0] == 0 and kept[-1] < num_steps
  assert len(set(np.diff(kept))) <= 1


def test_a_damaged_file_is_one_line(tmp_path):
  way.write(tmp_path, 3, PARAMS)
  (tmp_path / '3.safetensors').write_bytes(b'no tensors')
  with pytest.raises(ValueError, match='damaged .*; remove it, and the film'):
    way.read(tmp_path, 3, PARAMS)


def test_parameters_of_another_network_are_refused(tmp_path):
  way.write(tmp_path, 3, PARAMS)
  with pytest.raises(ValueError, match='for params/code'):
    way.read(tmp_path, 3, {**PARAMS, 'code': jnp.zeros(4)})
