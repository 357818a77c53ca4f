"""What lies where weights should is named, in one line with its file."""

import json

import numpy as np
import pytest
import safetensors.numpy

from mmdist.core import model_files

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n'


def error_of(path):
  with pytest.raises(ValueError) as caught:
    model_files.check_safetensors(path)
  assert '\n' not in str(caught.value) and str(path) in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize(
  'content, words',
  [
    (POINTER, 'pointer of Git LFS'),
    (b'\n  <!DOCTYPE html><html>', 'web page'),
    (b'<?xml version="1.0"?><Error>', 'web page'),
    (b'GGUF\x03\x00\x00\x00', r'quantised model (GGUF)'),
    (b'PK\x03\x04 archive/data.pkl', 'pickled'),
    (b'\x80\x02ctorch', 'pickled'),
    (b'{"error": "Repository not found"}', 'is corrupt'),
    (b'', 'is corrupt'),
  ],
)
def test_what_is_no_safetensors_is_named(tmp_path, content, words):
  path = tmp_path / 'model.safetensors'
  path.write_bytes(content)
  assert words in error_of(path)


def write_header(path, header, num_bytes):
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + bytes(num_bytes))


@pytest.mark.parametrize(
  'name, dtype, words',
  [
    ('conv.weight', 'F8_E4M3', '(fp8)'),
    ('conv.weight', 'F8_E5M2', '(fp8)'),
    ('conv.weight.absmax', 'F32', '(bitsandbytes)'),
    ('to_q.weight.quant_state.bitsandbytes__nf4', 'U8', '(bitsandbytes)'),
    ('to_q.SCB', 'F32', '(bitsandbytes)'),
    ('to_q.qweight', 'I32', '(GPTQ or AWQ)'),
    ('to_q.weight', 'I8', '(I8)'),
  ],
)
def test_quantised_weights_are_named(tmp_path, name, dtype, words):
  path = tmp_path / 'model.safetensors'
  size = {'F32': 4, 'I32': 4}.get(dtype, 1)
  header = {name: {'dtype': dtype, 'shape': [4], 'data_offsets': [0, 4 * size]}}
  write_header(path, header, 4 * size)
  assert f'quantised weights {words}, {name}' in error_of(path)


def test_whole_weights_pass_and_their_header_is_read(tmp_path):
  path = tmp_path / 'model.safetensors'
  tensors = {
    'weight': np.ones((2, 3), np.float16),
    'position_ids': np.arange(4),
  }
  safetensors.numpy.save_file(tensors, path, {'format': 'pt'})
  model_files.check_safetensors(path)
  header = model_files.read_header(path)
  assert header['weight']['shape'] == [2, 3]
  assert header['position_ids']['dtype'] == 'I64'
  assert header['__metadata__'] == {'format': 'pt'}


def test_a_pointer_in_place_of_a_config_is_named(tmp_path):
  path = tmp_path / 'config.json'
  path.write_bytes(POINTER)
  with pytest.raises(ValueError, match='config.json is a pointer of Git LFS'):
    model_files.read_json(path, '')
