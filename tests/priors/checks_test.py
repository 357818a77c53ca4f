"""Mistakes are answered before any network is built."""

import json
import shutil

import pytest
import torch

from mmdist.priors import checks
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny
from tests.priors import tiny_families

HAPPY = 'a portrait of a happy man'


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('source'))


def _error(directory, texts=(HAPPY,)):
  with pytest.raises((FileNotFoundError, ValueError)) as caught:
    checks.check_prior(directory, texts)
  message = str(caught.value)
  assert '\n' not in message
  return message


def test_a_good_directory_passes(source):
  checks.check_prior(source, (HAPPY, '', HAPPY))


def test_a_latent_directory_passes(tmp_path):
  directory = tiny.write_pipeline(tmp_path, codec='vae')
  checks.check_prior(directory, (HAPPY,))
  weights = directory / 'vae' / 'diffusion_pytorch_model.safetensors'
  weights.write_bytes(b'')
  assert f'{weights} is corrupt' in _error(directory)


def test_words_are_checked(source):
  assert "'hapy' (nearest: 'happy')" in _error(source, (HAPPY, 'a hapy man'))
  assert 'at most 14 fit' in _error(source, ('a man ' * 20,))


def test_of_texts_that_differ_in_view_words_one_cut_is_warned_of(tmp_path):
  directory = tiny_families.write('sd1', tmp_path)
  long = 'a man of many many words'
  texts = (long, f'{long}, front view', f'{long}, back view')
  with pytest.warns(UserWarning, match="cut off: 'words'") as caught:
    checks.check_prior(directory, texts)
  assert len(caught) == 1


def test_files_are_checked(source, tmp_path):
  assert 'does not exist' in _error(tmp_path / 'none')
  directory = shutil.copytree(source, tmp_path / 'broken')
  for file in ('unet/config.json', 'scheduler/scheduler_config.json'):
    shutil.move(directory / file, tmp_path / 'kept')
    assert f'{directory / file} is missing' in _error(directory)
    shutil.move(tmp_path / 'kept', directory / file)


UNET = 'diffusion_pytorch_model'


@pytest.fixture(name='copied')
def fixture_copied(source, tmp_path):
  return shutil.copytree(source, tmp_path / 'copied')


@pytest.mark.parametrize('variant', ['fp16', 'bf16', 'non_ema'])
def test_the_only_variant_there_is_opens(copied, source, variant):
  weights = copied / 'unet' / f'{UNET}.safetensors'
  weights.rename(copied / 'unet' / f'{UNET}.{variant}.safetensors')
  encoder = copied / 'text_encoder'
  (encoder / 'model.safetensors').rename(
    encoder / f'model.{variant}.safetensors'
  )
  checks.check_prior(copied, (HAPPY,))
  opened, plain = (
    pipelines.open_pipeline(path, device='cpu').denoiser.state_dict()
    for path in (copied, source)
  )
  assert all(torch.equal(opened[name], plain[name]) for name in plain)


def test_shards_of_a_variant_open(copied, source):
  network = pipelines.open_pipeline(source, device='cpu').denoiser
  shutil.rmtree(copied / 'unet')
  network.save_pretrained(
    copied / 'unet', variant='bf16', max_shard_size='10KB'
  )
  assert len(list((copied / 'unet').glob('*.safetensors'))) > 1
  checks.check_prior(copied, (HAPPY,))
  opened = pipelines.open_pipeline(copied, device='cpu').denoiser
  for name, weight in network.state_dict().items():
    assert torch.equal(opened.state_dict()[name], weight)


def test_of_several_unknown_variants_none_is_guessed(copied):
  weights = copied / 'unet' / f'{UNET}.safetensors'
  shutil.copy(weights, copied / 'unet' / f'{UNET}.ema.safetensors')
  weights.rename(copied / 'unet' / f'{UNET}.non_ema.safetensors')
  assert 'variants ema, non_ema' in _error(copied)


def test_what_is_no_weights_is_named(copied):
  weights = copied / 'unet' / f'{UNET}.safetensors'
  content = weights.read_bytes()
  pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n'
  weights.write_text(pointer)
  assert f'{weights} is a pointer of Git LFS' in _error(copied)
  weights.write_text('<!doctype html>')
  assert f'{weights} is a web page' in _error(copied)
  weights.unlink()
  quantised = weights.with_suffix('.gguf')
  quantised.write_bytes(b'GGUF')
  assert f'{quantised} is a quantised model (GGUF)' in _error(copied)
  weights.write_bytes(content)
  config = copied / 'text_encoder' / 'config.json'
  declared = json.loads(config.read_text())
  declared['quantization_config'] = {'quant_method': 'bitsandbytes'}
  config.write_text(json.dumps(declared))
  assert f'{config} declares quantised weights (bitsandbytes)' in _error(copied)
  config.write_text(json.dumps(declared | {'quantization_config': None}))
  (copied / 'tokenizer' / 'tokenizer.json').write_text(pointer)
  assert 'tokenizer.json is a pointer of Git LFS' in _error(copied)
