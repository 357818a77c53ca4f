"""Names of priors: embedded, a directory, or a hub's commit; never a branch."""

import pathlib

import huggingface_hub
import pytest

from mmdist.priors import locate

COMMIT = '0123456789abcdef0123456789abcdef01234567'


@pytest.fixture(name='fetched')
def fixture_fetched(monkeypatch, tmp_path):
  """Puts a recorder in place of the network."""
  asked = []

  def fetch(repository, **settings):
    asked.append((repository, settings))
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', fetch)
  return asked


def test_an_embedded_name_and_a_directory_are_local(fetched, tmp_path):
  assert pathlib.Path(locate.locate('color')).name == 'color'
  assert locate.locate(str(tmp_path)) == str(tmp_path.resolve())
  assert not fetched


def test_a_commit_is_fetched_without_pickles_or_code(fetched, tmp_path):
  assert locate.locate(f'someone/model.v1@{COMMIT}') == str(tmp_path)
  ((repository, settings),) = fetched
  assert repository == 'someone/model.v1'
  assert settings['revision'] == COMMIT
  for forbidden in ('.bin', '.py', '.ckpt', '.pt'):
    assert not any(p.endswith(forbidden) for p in settings['allow_patterns'])


@pytest.mark.parametrize('revision', ['main', COMMIT[:39], COMMIT.upper(), ''])
def test_a_branch_is_refused_before_anything_is_fetched(fetched, revision):
  with pytest.raises(ValueError, match='does not name a commit.*40 hex'):
    locate.locate(f'someone/model@{revision}')
  assert not fetched


def test_a_path_may_hold_an_at_sign(fetched, tmp_path):
  with pytest.raises(FileNotFoundError, match='is neither a directory nor'):
    locate.locate(str(tmp_path / 'me@office' / 'prior'))
  assert not fetched


def test_a_hub_id_without_commit_is_told_what_is_missing(fetched):
  with pytest.raises(FileNotFoundError, match='40 hex digits of its commit'):
    locate.locate('someone/model')
  assert not fetched


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
  def fail(*_, **__):
    raise OSError('no network\nat all')

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', fail)
  with pytest.raises(FileNotFoundError) as caught:
    locate.locate(f'someone/model@{COMMIT}')
  assert str(caught.value) == (
    f'someone/model@{COMMIT} cannot be fetched (no network); give a local '
    'diffusers directory instead.'
  )


def test_a_directory_with_such_a_name_is_a_directory(
  fetched, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'my' / f'model@{COMMIT}').mkdir(parents=True)
  assert locate.locate(f'my/model@{COMMIT}').endswith(COMMIT)
  assert not fetched


@pytest.fixture(name='cache')
def fixture_cache(tmp_path):
  """A hub's cache of one model of one commit."""
  (tmp_path / 'hub/models--a--b/snapshots' / COMMIT / 'unet').mkdir(
    parents=True
  )
  (tmp_path / 'hub/models--a--b/blobs').mkdir()
  return tmp_path / 'hub'


def test_the_folders_of_a_hubs_cache_are_opened(fetched, cache):
  model = cache / 'models--a--b'
  snapshot = model / 'snapshots' / COMMIT
  for given in (cache, model, snapshot):
    assert locate.locate(str(given)) == str(snapshot.resolve())
  assert not fetched


def test_of_a_cache_with_tokenizers_the_model_is_opened(cache):
  snapshot = cache / 'models--a--b' / 'snapshots' / COMMIT
  (snapshot / 'scheduler').mkdir()
  (cache / 'models--c--tokenizer' / 'snapshots' / COMMIT).mkdir(parents=True)
  for given in (cache, cache.parent):
    assert locate.locate(str(given)) == str(snapshot.resolve())


def test_of_several_in_a_hubs_cache_none_is_guessed(cache):
  (cache / 'models--c--d').mkdir()
  with pytest.raises(ValueError, match='2 models; .*models--c--d'):
    locate.locate(str(cache))
  with pytest.raises(FileNotFoundError, match='snapshots/ is empty'):
    (cache / 'models--c--d/snapshots').mkdir()
    locate.locate(str(cache / 'models--c--d'))
  (cache / 'models--a--b/snapshots' / COMMIT[::-1]).mkdir()
  with pytest.raises(ValueError, match=f'2 snapshots; .*{COMMIT}'):
    locate.locate(str(cache / 'models--a--b'))
