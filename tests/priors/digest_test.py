"""Which weights a run is made with."""

import hashlib

import pytest

from mmdist.priors import digest
from tests.priors import tiny_families


def test_every_weight_file_has_its_sha256(tmp_path):
  directory = tiny_families.write('sdxl', tmp_path / 'prior')
  lora = tmp_path / 'lora.safetensors'
  lora.write_bytes(b'lora')
  digests = digest.weight_digests(str(directory), str(lora))
  files = {
    path.relative_to(directory).as_posix(): path
    for path in directory.rglob('*.safetensors')
  }
  assert set(digests) == {*files, 'lora'}
  for name, path in files.items():
    assert digests[name] == hashlib.sha256(path.read_bytes()).hexdigest()
  assert digests['lora'] == hashlib.sha256(b'lora').hexdigest()


def test_one_changed_byte_changes_one_digest(tmp_path):
  directory = tiny_families.write('pixels', tmp_path / 'prior')
  before = digest.weight_digests(str(directory))
  path = directory / 'unet' / 'diffusion_pytorch_model.safetensors'
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  after = digest.weight_digests(str(directory))
  changed = {name for name in before if before[name] != after[name]}
  assert changed == {'unet/diffusion_pytorch_model.safetensors'}


def test_every_lora_and_its_settings_count(tmp_path):
  directory = tiny_families.write('pixels', tmp_path / 'prior')
  files = {
    'lora': tmp_path / 'one.safetensors',
    'lora_2': tmp_path / 'peft' / 'adapter_model.safetensors',
    'lora_2_config': tmp_path / 'peft' / 'adapter_config.json',
  }
  for name, path in files.items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(name)
  loras = ((str(files['lora']), 0.5), (str(tmp_path / 'peft'), 1.0))
  digests = digest.weight_digests(str(directory), loras)
  for name, path in files.items():
    assert digests[name] == digest.sha256(path)


def test_a_directory_that_is_none_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError):
    digest.weight_digests(str(tmp_path))
