"""The token that a Ray started here asks for, kept from other people.

Ray would make one itself, in a file that everybody may read. So it is made
here. If the person has a token, that one is used and never replaced. If the
person has switched tokens off, a warning says what that means, and they stay
off.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import secrets
from typing import Any
import warnings

from mmdist.core import errors
from mmdist.distribution import variables

MODE = 'RAY_AUTH_MODE'  # Ray itself sets it to 'token', if it is not set.
TOKEN = 'RAY_AUTH_TOKEN'
TOKEN_PATH = 'RAY_AUTH_TOKEN_PATH'
_DEFAULT_PATH = '~/.ray/auth_token'  # Where Ray looks last.
_FILE_NAME = 'token'
# What is to be done where a cluster asks for a token.
REMEDY = (
  f'set {TOKEN} to that of the cluster, or {TOKEN_PATH} to a file that holds '
  f'it, and {MODE}=token'
)

# What Ray of this process was started with: it then asks everybody for the
# token, also the head of a cluster without any, which it joins later.
_started_with: list[str] = []
# The token that was made here; at most one. Ray keeps the first token that it
# reads for as long as the process lives, so a second Ray of this process has to
# ask for the same one.
_made: list[str] = []
# Whether `show` has set the mode, which the person had not.
_shown: list[str] = []


@contextlib.contextmanager
def provided(directory: str | os.PathLike) -> Iterator[None]:
  """Puts a token into the environment, for a Ray that is started inside.

  Ray's processes keep the environment that they were started with. Afterwards
  the variables are as before, since the token's file goes with its directory
  and a later Ray or child process would look for it.

  Args:
    directory: private; the token's file is made in it if the person has none.
  """
  with variables.restored(MODE, TOKEN, TOKEN_PATH):
    is_wanted = _is_wanted()
    if is_wanted and not _has_token():
      os.environ[TOKEN_PATH] = str(_write(pathlib.Path(directory)))
    yield
    if is_wanted:
      _started_with.append('token')


def find() -> str | None:
  """Returns the person's token, to show to a Ray elsewhere; None without one.

  It is looked for where Ray itself looks. If tokens are switched off, there is
  none.

  Raises:
    UserError: RAY_AUTH_TOKEN_PATH names a file that cannot be read, or what is
      there can be no token; it is not shown.
  """
  if is_off():
    return None
  if os.environ.get(TOKEN):
    return _checked(os.environ[TOKEN], TOKEN)
  named = os.environ.get(TOKEN_PATH)
  path = pathlib.Path(named or os.path.expanduser(_DEFAULT_PATH))
  if not named and not path.is_file():
    return None
  _check_private(str(path))
  try:
    return _checked(path.read_text(encoding='utf-8'), str(path))
  except (OSError, UnicodeDecodeError) as error:
    raise errors.UserError(
      f"Ray's token cannot be read from {path} ({type(error).__name__}); name "
      f'its file in {TOKEN_PATH}.'
    ) from error


def _checked(token: str, where: str) -> str | None:
  """Returns a token without what surrounds it; None if nothing is left."""
  token = token.strip()
  # Anything else breaks the header that carries it, in the midst of an error
  # that would quote it.
  if not re.fullmatch(r'[!-~]*', token):
    raise errors.UserError(
      f'{where} holds no token of Ray: there is a line break, a space or a '
      'letter outside of ASCII in it; expected one word, as ray get-auth-token '
      'prints it.'
    )
  return token or None


def hide(text: str) -> str:
  """Returns a text of somebody else's without the person's token."""
  token = find()
  return text.replace(token, '(your token)') if token else text


def mode() -> str | None:
  """Returns the person's word on whether there are tokens; None without one."""
  return os.environ.get(MODE)


def is_off() -> bool:
  """Returns whether the person has said that there are no tokens."""
  return os.environ.get(MODE, 'token').lower() != 'token'


def show() -> None:
  """Has Ray in this process show the person's token to others.

  If the mode is not set, Ray does so only where it starts or finds a cluster
  itself, not where it is given an address.
  """
  os.environ[MODE] = 'token'
  _shown.append('token')
  _reread()


def show_no_more() -> None:
  """Takes back what `show` did, for another cluster, which may ask for none.

  A process that shows a token also asks for it, and would take the actors of
  such a cluster for dead.
  """
  if _shown:
    _shown.clear()
    os.environ.pop(MODE, None)
    _reread()


def _reread() -> None:
  """Has Ray read mode and token again; it reads them only once by itself."""
  from ray import _raylet

  # Ray does it in the same way. Its types do not know the compiled module.
  compiled: Any = _raylet
  compiled.Config.initialize('')
  compiled.AuthenticationTokenLoader.instance().reset_cache()


def may_join() -> bool:
  """Returns whether this process can join the Ray of another.

  Not once it has started one that asks for a token: Ray reads the token, and
  whether there is one, once only. A cluster without a token, or with another
  one, would then take this process for dead, and end its actors one by one.
  """
  return not _started_with


def _is_wanted() -> bool:
  mode = os.environ.get(MODE)
  if mode is None or mode.lower() == 'token':
    return True
  warnings.warn(
    f"{MODE} is '{mode}', so whoever reaches this machine's ports can run code "
    'in this Ray; unset it, and Ray will ask for a token.',
    stacklevel=2,
  )
  return False


def _has_token() -> bool:
  """Returns whether the person has a token; looks where Ray does."""
  if os.environ.get(TOKEN):
    return True
  if os.environ.get(TOKEN_PATH):
    _check_private(os.environ[TOKEN_PATH])
    return True
  path = os.path.expanduser(_DEFAULT_PATH)
  if _made or not os.path.isfile(path) or not os.path.getsize(path):
    return False
  # If others may read it, nobody chose that: Ray writes it so.
  with contextlib.suppress(OSError):
    os.chmod(path, 0o600)
  _check_private(path)
  return True


def _check_private(path: str) -> None:
  """Warns of a token that others may read."""
  if os.path.isfile(path) and os.stat(path).st_mode & 0o077:
    warnings.warn(
      f"{path} holds Ray's token and others may read it; expected a file of "
      f'its owner alone: chmod 600 {path}',
      stacklevel=2,
    )


def _write(directory: pathlib.Path) -> pathlib.Path:
  if not _made:
    _made.append(secrets.token_hex(32))
  path = directory / _FILE_NAME
  flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
  with open(os.open(path, flags, 0o600), 'w', encoding='utf-8') as file:
    file.write(_made[0])
  return path
