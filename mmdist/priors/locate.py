"""Where a prior's files lie: an embedded name, a directory, or a pinned hub id.

A hub id is 'OWNER/NAME@REVISION' with all 40 digits of a commit: what a branch
or a tag stands for can change under a run. Each machine fetches for itself, so
a spec carries the id and not this machine's folder.
"""

from collections.abc import Sequence
import os
import pathlib
import re

import huggingface_hub
import huggingface_hub.errors

from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import model_files
from mmdist.priors import single_file

_PINNED = re.compile(r'([\w.-]+/[\w.-]+)@([0-9a-f]{40})')
_HUB_ID = re.compile(r'([\w.-]+/)?[\w.-]+@[^/]*')
_HUB_LIKE = re.compile(r'[\w.-]+/[\w.-]+(@.*)?')
# What is downloaded: neither pickles nor code.
PATTERNS = ('*.json', '*.safetensors', '*.txt', '*.model')


def is_hub_id(name: str) -> bool:
  """Returns whether a name is meant for a hub, whether or not it has a commit.

  A path may hold an '@' too, as in `./me@office/prior`.
  """
  return bool(_HUB_ID.fullmatch(name)) and not os.path.isdir(name)


def locate(name: str, base: str = '') -> str:
  """Returns the absolute directory of a prior, fetched if it is of a hub.

  Args:
    name: a directory, a folder of a hub's cache, an embedded name, a hub's
      commit, or a checkpoint in one file, for which a directory is laid out.
    base: where `name` is one file: a directory with what that lacks.

  Raises:
    FileNotFoundError: there is no such directory, or it cannot be fetched.
    UserError: a hub id without its commit, a path in remote storage, or a file
      that is no such checkpoint.
  """
  name = local_paths.expand(name)
  if os.path.isfile(name):
    folder = pathlib.Path(locate(base)) if base else None
    path = pathlib.Path(name).resolve()
    return str(single_file.lay_out(path, folder))
  if base:
    raise errors.UserError(
      f"base is '{base}', and '{name}' is no checkpoint in one file, which "
      'alone needs one; leave base out.'
    )
  pinned = _PINNED.fullmatch(name)
  if pinned and not os.path.isdir(name):
    return _fetch(name, *pinned.groups())
  if is_hub_id(name):
    raise errors.UserError(
      f'{name!r} does not name a commit; expected OWNER/NAME@ and its 40 hex '
      'digits, since a branch or a tag can change under a run.'
    )
  try:
    return _unwrap(pathlib.Path(asset_paths.resolve(name)))
  except FileNotFoundError as error:
    if not _HUB_LIKE.fullmatch(name) or os.path.exists(name):
      raise
    raise FileNotFoundError(
      f'{str(error)} A model of a hub is named OWNER/NAME@ and the 40 hex '
      'digits of its commit.'
    ) from error


def _unwrap(directory: pathlib.Path) -> str:
  """Returns the model in the folders that a hub's cache keeps around it.

  They are models--OWNER--NAME/snapshots/COMMIT, beside blobs/ and refs/, and
  around all of them the cache itself.

  Raises:
    FileNotFoundError: there is no snapshot.
    UserError: there are several, and nobody says which one is meant.
  """
  models = [*directory.glob('models--*'), *directory.glob('hub/models--*')]
  # A cache keeps tokenizers and judges too.
  whole = [path for path in models if any(path.glob('snapshots/*/scheduler'))]
  if models:
    directory = _only('models', directory, sorted(whole or models))
  snapshots = directory / 'snapshots'
  if not snapshots.is_dir():
    return str(directory)
  found = sorted(path for path in snapshots.iterdir() if path.is_dir())
  if not found:
    raise FileNotFoundError(
      f"{directory} is the folder of a hub's cache, and its snapshots/ is "
      'empty; download the model again.'
    )
  return str(_only('snapshots', directory, found))


def _only(
  what: str, directory: pathlib.Path, found: Sequence[pathlib.Path]
) -> pathlib.Path:
  if len(found) == 1:
    return found[0]
  names = ', '.join(str(path.relative_to(directory)) for path in found[:8])
  raise errors.UserError(
    f"{directory} is the folder of a hub's cache with {len(found)} {what}; "
    f'give the directory of one: {names}{", ..." * (len(found) > 8)}.'
  )


def _fetch(name: str, repository: str, revision: str) -> str:
  try:
    return huggingface_hub.snapshot_download(
      repository, revision=revision, allow_patterns=list(PATTERNS)
    )
  except (
    OSError,
    ValueError,
    huggingface_hub.errors.HfHubHTTPError,
  ) as error:
    raise FileNotFoundError(
      f'{name} cannot be fetched ({model_files.first_line(error)}); give a '
      'local diffusers directory instead.'
    ) from error
