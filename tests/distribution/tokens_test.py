import os
import pathlib
import stat
import warnings

import pytest

from mmdist.core import errors
from mmdist.distribution import cluster
from mmdist.distribution import faults
from mmdist.distribution import tokens


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
  """A person without any token, in a process that has made none."""
  for name in (tokens.MODE, tokens.TOKEN, tokens.TOKEN_PATH):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  monkeypatch.setattr(tokens, '_made', [])
  (tmp_path / 'home' / '.ray').mkdir(parents=True)
  (tmp_path / 'first').mkdir()
  (tmp_path / 'second').mkdir()
  return tmp_path / 'home'


def provide(directory: pathlib.Path) -> str | None:
  """Returns the token's file that a Ray started now would read."""
  with tokens.provided(directory):
    return os.environ.get(tokens.TOKEN_PATH)


def mode_of(path) -> int:
  return stat.S_IMODE(os.stat(path).st_mode)


def test_a_new_token_is_its_owners_alone_whatever_the_umask(tmp_path):
  umask = os.umask(0)
  try:
    path = provide(tmp_path / 'first')
  finally:
    os.umask(umask)
  assert path == str(tmp_path / 'first' / 'token')
  assert mode_of(path) == 0o600
  assert len(bytes.fromhex(pathlib.Path(path).read_text())) == 32


def test_a_token_is_never_written_over_another_file(tmp_path):
  (tmp_path / 'first' / 'token').symlink_to(tmp_path / 'elsewhere')
  with pytest.raises(FileExistsError):
    provide(tmp_path / 'first')
  assert not (tmp_path / 'elsewhere').exists()


def test_every_ray_of_a_process_asks_for_the_same_token(tmp_path, home):
  first = provide(tmp_path / 'first')
  # Another program's, made meanwhile: this process knows the first by heart.
  (home / '.ray' / 'auth_token').write_text('ab' * 32)
  second = provide(tmp_path / 'second')
  assert first != second
  assert pathlib.Path(first).read_text() == pathlib.Path(second).read_text()


@pytest.mark.parametrize('before', [None, 'token'])
def test_the_environment_is_as_before(tmp_path, monkeypatch, before):
  if before:
    monkeypatch.setenv(tokens.MODE, before)
  environment = dict(os.environ)
  with pytest.raises(KeyError), tokens.provided(tmp_path / 'first'):
    os.environ[tokens.MODE] = 'token'  # As Ray does.
    raise KeyError
  assert dict(os.environ) == environment


def test_a_persons_token_is_used_and_not_replaced(tmp_path, home, monkeypatch):
  theirs = home / '.ray' / 'auth_token'
  theirs.write_text('ab' * 32)
  theirs.chmod(0o644)  # As Ray writes it.
  assert provide(tmp_path / 'first') is None
  assert theirs.read_text() == 'ab' * 32
  assert mode_of(theirs) == 0o600
  monkeypatch.setenv(tokens.TOKEN_PATH, str(theirs))
  assert provide(tmp_path / 'first') == str(theirs)
  monkeypatch.delenv(tokens.TOKEN_PATH)
  theirs.unlink()
  monkeypatch.setenv(tokens.TOKEN, 'cd' * 32)
  assert provide(tmp_path / 'first') is None
  assert not list((tmp_path / 'first').iterdir())


def test_an_empty_token_is_none(tmp_path, home):
  (home / '.ray' / 'auth_token').touch()
  assert provide(tmp_path / 'first')


def test_a_named_token_that_others_may_read_is_told_not_changed(
  tmp_path, monkeypatch
):
  theirs = tmp_path / 'shared'
  theirs.write_text('ab' * 32)
  theirs.chmod(0o640)
  monkeypatch.setenv(tokens.TOKEN_PATH, str(theirs))
  with pytest.warns(UserWarning, match='chmod 600') as told:
    provide(tmp_path / 'first')
  assert 'abab' not in str(told[0].message)
  assert mode_of(theirs) == 0o640


def test_tokens_switched_off_stay_off_and_that_is_told(tmp_path, monkeypatch):
  monkeypatch.setenv(tokens.MODE, 'disabled')
  with pytest.warns(UserWarning, match="RAY_AUTH_MODE is 'disabled', so who"):
    assert provide(tmp_path / 'first') is None
  assert not list((tmp_path / 'first').iterdir())
  monkeypatch.setenv(tokens.MODE, 'TOKEN')
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    assert provide(tmp_path / 'first')


def test_a_persons_token_is_found_where_ray_looks(tmp_path, home, monkeypatch):
  assert tokens.find() is None
  default = home / '.ray' / 'auth_token'
  default.write_text('ab' * 32 + '\n')
  default.chmod(0o600)
  assert tokens.find() == 'ab' * 32
  named = tmp_path / 'named'
  named.write_text('cd' * 32)
  named.chmod(0o600)
  monkeypatch.setenv(tokens.TOKEN_PATH, str(named))
  assert tokens.find() == 'cd' * 32
  monkeypatch.setenv(tokens.TOKEN, 'ef' * 32)
  assert tokens.find() == 'ef' * 32
  monkeypatch.setenv(tokens.MODE, 'disabled')
  assert tokens.find() is None


def test_a_named_token_that_is_not_there_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setenv(tokens.TOKEN_PATH, str(tmp_path / 'nowhere'))
  with pytest.raises(errors.UserError, match='nowhere') as error:
    tokens.find()
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'token', ['ab\ncd', 'ab cd', 'ab\x00cd', 'zwölf', 'a\rb']
)
@pytest.mark.parametrize('where', [tokens.TOKEN, tokens.TOKEN_PATH])
def test_what_can_be_no_token_is_one_line_and_stays_unsaid(
  tmp_path, monkeypatch, token, where
):
  if where == tokens.TOKEN:
    monkeypatch.setattr(tokens.os, 'environ', {where: token})
  else:
    path = tmp_path / 'named'
    path.write_text(token, encoding='utf-8')
    path.chmod(0o600)
    monkeypatch.setenv(where, str(path))
  with pytest.raises(errors.UserError, match='holds no token of Ray') as error:
    tokens.find()
  line = str(error.value)
  assert '\n' not in line and token not in line and line.isascii()


def test_a_text_of_somebody_elses_is_shown_without_the_token(monkeypatch):
  monkeypatch.setenv(tokens.TOKEN, 'ab' * 32)
  assert tokens.hide(f'500: Bearer {"ab" * 32}!') == '500: Bearer (your token)!'
  monkeypatch.delenv(tokens.TOKEN)
  assert tokens.hide('500') == '500'


def test_a_process_that_has_started_a_ray_joins_no_other(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  for name in (tokens.TOKEN, tokens.TOKEN_PATH, tokens.MODE):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(tokens, '_started_with', [])
  with pytest.raises(ConnectionError), tokens.provided(tmp_path):
    raise ConnectionError  # No Ray was started.
  assert tokens.may_join()
  (tmp_path / 'token').unlink()
  with tokens.provided(tmp_path):
    pass
  assert not tokens.may_join()
  monkeypatch.setattr(cluster.ray, 'is_initialized', lambda: False)
  with pytest.raises(faults.ClusterUnavailable, match='restart the kernel'):
    cluster.Cluster('10.0.0.1:6379', {})


def test_without_tokens_any_other_ray_can_be_joined(monkeypatch, tmp_path):
  monkeypatch.setenv(tokens.MODE, 'disabled')
  monkeypatch.setattr(tokens, '_started_with', [])
  with pytest.warns(UserWarning), tokens.provided(tmp_path):
    pass
  assert tokens.may_join()
