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
# two letters here, so that 'C:/' is none.
_REMOTE = re.compile(r'([A-Za-z][A-Za-z0-9+.-]+):/+(.*)', re.DOTALL)


def expand(path: str | os.PathLike, what: str = '') -> str:
  """Returns a path with the home folder in place of `~`.

  A name that is not a path, such as an embedded one or a hub's, stays as it is.

  Args:
    path: as somebody wrote it; '' stays ''.
    what: the field or flag that it is the value of, for the error.

  Raises:
    UserError: in one line; it is in remote storage, or in the home of a user
      that this machine does not know.
  """
  text = os.fspath(path)
  check(text, what)
  expanded = os.path.expanduser(text)
  first = pathlib.Path(expanded).parts[:1]
  if expanded.startswith('~') and not pathlib.Path(*first).exists():
    raise errors.UserError(
      f'{_named(text, what)} begins with the home of a user that this machine '
      f'does not know; give the path in full, or ./{text} for a folder of that '
      'name.'
    )
  return expanded


def local(path: str | os.PathLike, what: str = '') -> pathlib.Path:
  """Returns what `expand` does, as a path."""
  return pathlib.Path(expand(path, what))


def check(path: str | os.PathLike, what: str = '') -> None:
  """Raises UserError, in one line, if a path is in remote storage.

  Args:
    path: as somebody wrote it.
    what: the field or flag that it is the value of.
  """
  remote = _REMOTE.fullmatch(os.fspath(path))
  if not remote:
    return
  scheme, rest = remote.groups()
  text = _named(f'{scheme}://{rest}', what)
  if scheme == 'file':
    raise errors.UserError(
      f'{text} is an address; expected the path alone, /{rest}.'
    )
  raise errors.UserError(
    f'{text} is in remote storage, and mmdist works in folders of this machine '
    'only; mount it (gcsfuse, s3fs, rclone mount) and give that folder, or '
    'give a local folder and copy it there afterwards.'
  )


def _named(path: str, what: str) -> str:
  return f"{what} '{path}'" if what else path
