"""Paths as people write them, as paths of this machine.

`~` is the home folder, wherever a path comes from: a shell expands it only at
the beginning of a word, so in `--workdir=~/runs` it is still there. And a path
in remote storage, such as `gs://bucket/run`, is refused. A run locks its
folder, replaces files whole, adds lines to them and hands paths to ffmpeg and
safetensors, which no such storage offers (docs/reliability.md); without this
check, there would soon be a folder called `gs:`.
"""

import os
import pathlib
import re

from mmdist.core import errors

# One slash is enough, since `pathlib` makes one of two. A scheme has at least
# two letters here, so that 'C:/' is none. fsspec writes schemes before another
# one, as in 'simplecache::s3://bucket'.
_CHAIN = r'(?:[A-Za-z][A-Za-z0-9+.-]*::)'
_REMOTE = re.compile(
  rf'({_CHAIN}*[A-Za-z][A-Za-z0-9+.-]+):/+(.*)|{_CHAIN}.*', re.DOTALL
)
# Without a slash, only these are taken for schemes: 'experiment:preset' is a
# name, and 'gs:bucket' is a slip of the pen.
_SCHEMES = re.compile(
  r'(abfss?|az|file|gcs|gs|hdfs|hf|https?|memory|s3a?):(.*)',
  re.DOTALL | re.IGNORECASE,
)

# Of every file system in common use, and of Linux (with the byte at the end).
_MOST_NAME_BYTES, _MOST_PATH_BYTES = 255, 4095


def expand(path: str | os.PathLike, what: str = '') -> str:
  """Returns a path with the home folder in place of `~`.

  A name that is not a path, such as an embedded one or a hub's, stays as it is.

  Args:
    path: as somebody wrote it; '' stays ''.
    what: the field or flag that it is the value of, for the error.

  Raises:
    UserError: in one line; it is in remote storage, in the home of a user that
      this machine does not know, or longer than paths may be.
  """
  text = os.fspath(path)
  check(text, what)
  expanded = os.path.expanduser(text)
  if not text.startswith('~'):
    return expanded
  user = pathlib.Path(text).parts[0]
  if user == '~':
    if home() is None:
      raise errors.UserError(
        f'{_named(text, what)} begins with your home folder, and there is none '
        'here; set HOME to one, or give the path in full.'
      )
    return expanded
  place = os.path.expanduser(user)
  if not os.path.isdir(place):
    # A user may be known and have no home, as 'nobody' is on most machines.
    why = f'has none ({place})'
    if place == user:
      why = 'this machine does not know'
    raise errors.UserError(
      f'{_named(text, what)} begins with the home of a user that {why}; give '
      f'the path in full, or ./{text} for a folder of that name.'
    )
  return expanded


def home() -> str | None:
  """Returns the home folder; None where there is none.

  A container that is started for a number (`docker run --user 12345`) has a
  user without a name and a home, or `HOME=/nonexistent`.
  """
  if os.environ.get('HOME') == '':  # Python takes it for '/'.
    return None
  found = os.path.expanduser('~')
  return found if os.path.isabs(found) and os.path.isdir(found) else None


def local(path: str | os.PathLike, what: str = '') -> pathlib.Path:
  """Returns what `expand` does, as a path."""
  return pathlib.Path(expand(path, what))


def check(path: str | os.PathLike, what: str = '') -> None:
  """Raises UserError, in one line, if a path is none of this machine.

  It is in remote storage, or no file system could hold its name.

  Args:
    path: as somebody wrote it.
    what: the field or flag that it is the value of.
  """
  _check_length(os.fspath(path), what)
  # As somebody may have quoted it, with a space before it.
  given = os.fspath(path).strip()
  remote = _REMOTE.fullmatch(given) or _SCHEMES.fullmatch(given)
  if not remote:
    return
  scheme, rest = remote.groups()
  if scheme and scheme.lower() == 'file':
    raise errors.UserError(
      f'{_named(given, what)} is an address; expected the path alone, '
      f'{_path_in(given)}.'
    )
  # pathlib has made one slash of two.
  text = f'{scheme}://{rest}' if scheme and ':/' in given else given
  raise errors.UserError(
    f'{_named(text, what)} is in remote storage, and mmdist works in folders '
    'of this machine only; mount it (gcsfuse, s3fs, rclone mount) and give '
    'that folder, or give a local folder and copy it there afterwards.'
  )


def _check_length(path: str, what: str) -> None:
  """Raises UserError unless a path can be one: a prompt often cannot."""
  longest = max(path.split('/'), key=_num_bytes)
  if '\0' in path:
    wrong = 'has a null byte, which no path can have'
  elif _num_bytes(longest) > _MOST_NAME_BYTES:
    wrong = (
      f'has a name of {_num_bytes(longest)} bytes in it; expected at most '
      f'{_MOST_NAME_BYTES} between two slashes'
    )
  elif _num_bytes(path) > _MOST_PATH_BYTES:
    wrong = (
      f'has {_num_bytes(path)} bytes; expected at most {_MOST_PATH_BYTES} in '
      'all'
    )
  else:
    return
  shown = path.replace('\0', '\\0')
  shown = shown if len(shown) < 80 else f'{shown[:40]}...{shown[-30:]}'
  raise errors.UserError(f'{_named(shown, what)} {wrong}; give another path.')


def _num_bytes(text: str) -> int:
  return len(text.encode('utf-8', 'surrogatepass'))


def _path_in(address: str) -> str:
  """Returns the path in the address of a file, 'file://MACHINE/PATH'."""
  rest = address.partition(':')[2]
  if rest.startswith('//'):
    return '/' + rest[2:].partition('/')[2]
  # pathlib has made one slash of two.
  return rest.removeprefix('/localhost')


def _named(path: str, what: str) -> str:
  return f"{what} '{path}'" if what else path
