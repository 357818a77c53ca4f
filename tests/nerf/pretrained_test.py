import json

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import errors
from mmdist.nerf import field
from mmdist.nerf import pretrained

CONFIG = schema.NerfConfig(
  code_size=3, nerf_depth=2, nerf_width=8, proposal_width=4
)


@pytest.fixture(scope='module')
def params():
  # Any numbers will do, and no biases of zero hide a mistake.
  shapes = jax.eval_shape(
    field.conditional_nerf(CONFIG).init, jax.random.key(0)
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: rng.standard_normal(leaf.shape, leaf.dtype), shapes
  )


@pytest.fixture
def saved(tmp_path, params):
  codes = np.arange(12, dtype=np.float32).reshape(4, 3)
  pretrained.save(tmp_path / 'new' / 'nerf', CONFIG, params, codes)
  return tmp_path / 'new' / 'nerf'


def test_what_is_saved_is_loaded(saved, params):
  config, loaded, codes = pretrained.load(saved)
  assert config == CONFIG
  assert set(loaded) == {'proposal', 'nerf'}
  np.testing.assert_array_equal(codes, np.arange(12).reshape(4, 3))
  jax.tree.map(
    np.testing.assert_array_equal, {**loaded, 'code': params['code']}, params
  )


def test_weights_from_before_a_field_was_added_are_read(saved):
  path = saved / 'config.json'
  older = json.loads(path.read_text())
  del older['icosahedron_subdivisions']
  path.write_text(json.dumps(older))
  assert pretrained.load(saved)[0] == CONFIG


def test_a_missing_file_is_named(saved):
  (saved / pretrained.PARAMS_NAME).unlink()
  with pytest.raises(FileNotFoundError, match='has no params.safetensors'):
    pretrained.load(saved)


def test_a_missing_directory_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='neither a directory nor'):
    pretrained.load(tmp_path / 'nowhere')


def test_a_damaged_file_is_named(saved):
  path = saved / pretrained.PARAMS_NAME
  path.write_bytes(path.read_bytes()[:50])
  with pytest.raises(ValueError, match='params.safetensors is damaged'):
    pretrained.load(saved)


def test_files_that_do_not_belong_together_are_told_apart(saved):
  path = saved / pretrained.CONFIG_NAME
  path.write_text(path.read_text().replace('"code_size": 3', '"code_size": 7'))
  with pytest.raises(ValueError, match=r'codes of shape \(4, 3\).* 7\]'):
    pretrained.load(saved)


@pytest.mark.parametrize(
  'text, message', [('{"code_sise": 3}', 'code_size'), ('{', 'config.json')]
)
def test_a_config_that_cannot_be_read_is_named(saved, text, message):
  (saved / pretrained.CONFIG_NAME).write_text(text)
  with pytest.raises(ValueError, match=message):
    pretrained.load(saved)


def test_a_config_without_a_field_is_refused_whatever_the_default(saved):
  path = saved / pretrained.CONFIG_NAME
  fields = json.loads(path.read_text())
  del fields['activation']
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match='does not say activation; add'):
    pretrained.load(saved)


@pytest.mark.parametrize(
  'changed, said',
  [
    (
      {'nerf_width': 9},
      r'is of shape \[8, 4\] in params.safetensors, and of shape \[9',
    ),
    ({'nerf_depth': 3}, r'CodedDense_2/bias is of shape \[1\].* shape \[8\]'),
  ],
)
def test_weights_of_another_config_are_refused(saved, changed, said):
  path = saved / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changed))
  config, weights, _ = pretrained.load(saved)
  with pytest.raises(errors.UserError, match=said):
    pretrained.check_fits(saved, config, weights)


def test_weights_of_their_own_config_fit_and_no_others(saved):
  config, weights, _ = pretrained.load(saved)
  pretrained.check_fits(saved, config, weights)
  weights['nerf']['more'] = np.zeros(2)
  with pytest.raises(errors.UserError, match=r'more is of .* and missing in a'):
    pretrained.check_fits(saved, config, weights)
  del weights['nerf']['more'], weights['proposal']
  with pytest.raises(
    errors.UserError, match=r'proposal/.* is missing in param'
  ):
    pretrained.check_fits(saved, config, weights)
