"""The folder of a run: whose it is, and whether a run may go on in it.

Owns `config.json`. Checks are made before anything is written, so that a run
that is refused leaves nothing behind.
"""

import os
import pathlib

from mmdist.core import atomic
from mmdist.core import config as config_lib
from mmdist.core import config_io

CONFIG_NAME = 'config.json'
# What may change between two calls: it decides nothing about the avatar.
_FREE_FIELDS = ('results.', 'checkpoints.')


def check(workdir: str | os.PathLike, run: config_lib.RunConfig) -> None:
  """Checks, writing nothing, that a run may begin or go on in a folder.

  Raises:
    NotADirectoryError, PermissionError: nothing can be written there.
    ValueError: it holds something else, or a run of another configuration.
  """
  workdir = pathlib.Path(workdir)
  _check_writable(workdir)
  if not workdir.exists() or not any(workdir.iterdir()):
    return
  if not (workdir / CONFIG_NAME).is_file():
    raise ValueError(
      f'{workdir} is not empty and holds no run; give --workdir a new folder.'
    )
  before = read_config(workdir)
  changed = [
    line
    for line in config_io.differences(before, run)
    if not line.startswith(_FREE_FIELDS)
  ]
  if changed:
    raise ValueError(
      f'{workdir} holds a run of another configuration ({"; ".join(changed)});'
      ' give the old values to resume it, or --workdir a new folder.'
    )


def claim(
  workdir: str | os.PathLike, run: config_lib.RunConfig
) -> pathlib.Path:
  """Checks a folder, makes it, and writes the run's configuration into it.

  Raises:
    NotADirectoryError, ValueError: see `check`.
    PermissionError: nothing can be written there, for whatever reason.
  """
  check(workdir, run)
  workdir = pathlib.Path(workdir)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    atomic.write_text(workdir / CONFIG_NAME, config_io.to_json(run))
  except OSError as error:  # Such as a full disk, or one that is read-only.
    raise PermissionError(
      f'{workdir} cannot be written ({error.strerror}); give --workdir another '
      'folder.'
    ) from error
  return workdir


def _check_writable(workdir: pathlib.Path) -> None:
  existing = workdir
  while not existing.exists():
    existing = existing.parent
  if not existing.is_dir():
    raise NotADirectoryError(
      f'{existing} is a file; give --workdir a folder, or one to be made.'
    )
  if not os.access(existing, os.W_OK | os.X_OK):
    raise PermissionError(
      f'{existing} cannot be written; give --workdir another folder.'
    )


def read_config(workdir: str | os.PathLike) -> config_lib.RunConfig:
  """Returns the configuration of the run that a folder holds.

  Raises:
    FileNotFoundError: it holds none.
    ValueError: its configuration cannot be read.
  """
  path = pathlib.Path(workdir) / CONFIG_NAME
  if not path.is_file():
    raise FileNotFoundError(
      f'{workdir} holds no run: there is no {CONFIG_NAME} in it.'
    )
  return config_io.from_json(path.read_text(encoding='utf-8'), str(path))
