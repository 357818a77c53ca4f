"""What is known of a directory says the same as a look at its files."""

import os
import shutil
import warnings

import pytest

from mmdist.priors import checks
from mmdist.priors import declared
from mmdist.priors import digest
from mmdist.priors import directory as files
from mmdist.priors import families
from mmdist.priors import vocabulary
from tests.priors import tiny
from tests.priors import tiny_families

HAPPY = 'a portrait of a happy man'
SHORT = 'a man'  # Of few tokens in every family.
TEXTS = (SHORT, HAPPY, '', 'a man of many many many words', 'zebra man')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


def told(directory, *texts):
  """Returns the one line that a check ends with, and its warnings."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    try:
      checks.check_prior(directory, texts)
      error = ''
    except (FileNotFoundError, ValueError) as raised:
      error = f'{type(raised).__name__}: {raised}'
  return error, [str(warning.message) for warning in caught]


def forbid(monkeypatch, module, name):
  def refuse(*_):
    raise AssertionError(f'{name} was called')

  monkeypatch.setattr(module, name, refuse)


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_a_second_check_says_what_the_first_one_said(
  family, tmp_path, monkeypatch
):
  directory = tiny_families.write(family, tmp_path / 'prior')
  with monkeypatch.context() as nothing_kept:
    nothing_kept.setattr(declared.user_cache, 'read', lambda *_: None)
    afresh = [told(directory, text) for text in TEXTS]
    digests = digest.weight_digests(str(directory))
  assert told(directory, SHORT) == ('', [])
  forbid(monkeypatch, families, 'read_family')
  assert [told(directory, text) for text in TEXTS] == afresh
  assert digest.weight_digests(str(directory)) == digests
  forbid(monkeypatch, files, 'load_tokenizer')
  assert told(directory, SHORT, '') == ('', [])


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_a_kept_vocabulary_counts_as_its_tokenizer(family, tmp_path):
  directory = tiny_families.write(family, tmp_path / 'prior')
  checks.check_prior(directory, (SHORT,))
  kept = declared.recall(declared.key(directory))
  folders = families.read_family(directory).texts
  assert kept.components == families.read_family(directory).components
  for folder, one in zip(folders, kept.vocabularies, strict=True):
    assert (one.tokenizer, one.length) == (folder.tokenizer, folder.length)
    tokenizer = files.load_tokenizer(directory, folder.tokenizer)
    for text in (HAPPY, '', 'a happy happy man'):
      length = len(tokenizer(text)['input_ids'])
      for longest in (length, length - 1):
        short = vocabulary.Vocabulary('', longest, one.content)
        assert short.has_all([text]) == (longest == length)


def test_words_that_are_wrong_are_told_each_time(tmp_path):
  directory = tiny.write_pipeline(tmp_path)
  checks.check_prior(directory, (HAPPY,))
  error, _ = told(directory, HAPPY, 'a hapy man')
  assert "'hapy' (nearest: 'happy')" in error
  assert 'at most 14 fit' in told(directory, 'a man ' * 20)[0]


def test_whatever_changes_in_a_directory_is_seen(tmp_path):
  directory = tiny.write_pipeline(tmp_path / 'prior')
  checks.check_prior(directory, (HAPPY,))
  copy = shutil.copytree(directory, tmp_path / 'copy')
  for path in sorted(copy.rglob('*.json')):
    before, content = declared.key(copy), path.read_bytes()
    path.write_bytes(content + b' ')
    assert declared.key(copy) != before, path
    path.write_bytes(content)
    assert declared.key(copy) == before
  (directory / 'unet' / 'model.py').touch()
  assert 'is code, which mmdist never runs' in told(directory, HAPPY)[0]
  os.remove(directory / 'unet' / 'model.py')
  weights = directory / 'unet' / 'diffusion_pytorch_model.safetensors'
  # Its header stays, so that the files are taken for known.
  os.truncate(weights, weights.stat().st_size - 4)
  assert f'{weights} is corrupt' in told(directory, HAPPY)[0]
  weights.unlink()
  assert f'{weights} is missing' in told(directory, HAPPY)[0]


def test_versions_and_code_are_part_of_the_key(tmp_path, monkeypatch):
  directory = tiny.write_pipeline(tmp_path)
  keys = {declared.key(directory)}
  monkeypatch.setattr(declared, '_version', lambda name: '0')
  keys.add(declared.key(directory))
  monkeypatch.setattr(declared.source_hash, 'name_code', lambda: 'other')
  keys.add(declared.key(directory))
  assert len(keys) == 3


def test_nothing_is_kept_of_a_directory_in_which_something_is_wrong(
  tmp_path, cache
):
  directory = tiny.write_pipeline(tmp_path / 'prior')
  assert told(directory, 'a hapy man')[0]
  (directory / 'unet' / 'config.json').unlink()
  assert told(directory, HAPPY)[0]
  assert not list(cache.rglob('*.json'))


def test_a_damaged_record_is_not_believed(tmp_path, cache):
  directory = tiny.write_pipeline(tmp_path / 'prior')
  checks.check_prior(directory, (HAPPY,))
  (record,) = cache.rglob('*.json')
  for damage in ('{}', '{"components": 1, "vocabularies": [{}]}'):
    record.write_text(damage)
    assert declared.recall(declared.key(directory)) is None
    assert told(directory, HAPPY) == ('', [])
  kept = declared.recall(declared.key(directory))
  assert not vocabulary.Vocabulary('', 9, 'nonsense').has_all([HAPPY])
  assert kept.vocabularies[0].has_all([HAPPY])
