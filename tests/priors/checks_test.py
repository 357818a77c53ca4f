"""Mistakes are answered before any network is built."""

import shutil

import pytest

from mmdist.priors import checks
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
