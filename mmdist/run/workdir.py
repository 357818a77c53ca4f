"""The folder of a run: whose it is, and whether a run may go on in it.

Owns `.lock`, `config.json`, `priors.json` and `changes.jsonl`. Checks are made
before anything is written, so that a run that is refused leaves nothing behind.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import datetime
import fnmatch
import json
import os
import pathlib
import warnings

from mmdist.config import changes as config_changes
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import strict_json
from mmdist.run import links
from mmdist.run import locks

CONFIG_NAME = 'config.json'
WEIGHTS_NAME = 'priors.json'  # sha256 of every weight file, by prior.
CHANGES_NAME = 'changes.jsonl'  # What was changed on purpose, and when.
# Everything that any part of mmdist writes there. The first pattern is the lock
# and the files that are not complete yet.
OUTPUTS = (
  '.*',
  CONFIG_NAME,
  WEIGHTS_NAME,
  CHANGES_NAME,
  'metrics.jsonl',
  'sessions.jsonl',
  'checkpoints*',
  'tensorboard',
  'wandb',
  'preview.png',
  'sheet.png',
  'turntable.*',
  'mesh.glb',
  'mesh.html',
  'splats.ply',
  'report.html',
)
# What a run leaves behind if it is killed before it has written its
# configuration.
_LEFT_OVERS = (locks.LOCK_NAME, '.config.*.json')

# Prior -> file -> sha256.
Weights = Mapping[str, Mapping[str, str]]


def check(
  workdir: str | os.PathLike,
  run: schema.RunConfig,
  may_change: Sequence[str] = (),
) -> list[config_changes.Change]:
  """Checks, writing nothing, that a run may begin or go on in a folder.

  Args:
    workdir: the folder, there or not.
    run: what is to be run.
    may_change: fields that may differ from the run that the folder holds; see
      `config_changes`.

  Returns:
    How the configuration differs, as far as that needed permission.

  Raises:
    NotADirectoryError, PermissionError, FileNotFoundError: nothing can be
      written there.
    UserError: the folder is in remote storage, or holds something else, links
      that lead out of it, or a run of another configuration; or `may_change`
      names a field that does not exist.
  """
  workdir = local_paths.local(workdir)
  check_writable(workdir)
  check_links(workdir)
  before = _read_held_run(workdir)
  if before is None:
    config_changes.check_names(may_change, run)
    return []
  config_changes.check_names(may_change, before, run)
  changes = [
    change
    for change in config_changes.find_changes(before, run)
    if not config_changes.is_free(change.field)
  ]
  refused = [
    change
    for change in changes
    if change.obstacle or not config_changes.is_below(change.field, may_change)
  ]
  if refused:
    raise errors.UserError(_refusal(workdir, refused))
  return changes


def check_links(workdir: str | os.PathLike) -> None:
  """Checks that what is written in a run's folder stays there.

  Raises:
    UserError: in one line; a link in its place leads out of the folder.
  """
  links.check_inside(workdir, OUTPUTS)


def _refusal(
  workdir: pathlib.Path, refused: Sequence[config_changes.Change]
) -> str:
  listed = '; '.join(map(str, refused))
  text = f'{workdir} holds a run of another configuration ({listed}); '
  for change in refused:
    if change.obstacle:
      return (
        f'{text}{change.field} can never change in a run, since '
        f'{change.obstacle}: give the old value, or --workdir a new folder.'
      )
  # Without the brackets of concepts[0], which mean something to a shell.
  fields = dict.fromkeys(c.field.partition('[')[0] for c in refused)
  return (
    f'{text}give the old values to resume it, or --workdir a new folder, or '
    f'go on with the new ones by --resume_with_changes={",".join(fields)}'
  )


def check_weights(
  workdir: str | os.PathLike,
  weights: Weights,
  may_change: Sequence[str] = (),
) -> list[config_changes.Change]:
  """Checks that the priors' weights are those that a run began with.

  A folder without a record, of an old version or a run not begun, is fine.

  Args:
    workdir: the run's folder.
    weights: those of now.
    may_change: may hold 'weights', or 'weights.NAME' for one prior.

  Returns:
    The files that differ.

  Raises:
    UserError: in one line; files differ without permission, or the record
      cannot be read.
  """
  workdir = local_paths.local(workdir)
  if not (workdir / WEIGHTS_NAME).is_file():
    return []
  name = config_changes.WEIGHTS
  before = _read_weights(workdir / WEIGHTS_NAME)
  changes = [
    change
    for change in config_changes.find_changes({name: before}, {name: weights})
    if change.field != name  # Where one side has no files at all.
  ]
  for change in changes:
    if not config_changes.is_below(change.field, may_change):
      _, prior, file = change.field.split('.', 2)
      raise errors.UserError(
        f"the weights of prior '{prior}' are not those that {workdir} began "
        f'with: {file} {_what_happened(change)}; put the old file back, or '
        'give --workdir a new folder, or go on with the new ones by '
        f'--resume_with_changes={name}'
      )
  return changes


def _what_happened(change: config_changes.Change) -> str:
  if change.before is None:
    return 'is new'
  return 'is gone' if change.after is None else 'has another sha256'


def _read_weights(path: pathlib.Path) -> Weights:
  try:
    weights = json.loads(path.read_text(encoding='utf-8'))
    sound = all(
      isinstance(digest, str)
      for files in weights.values()
      for digest in (files.values() or [None])
    )
  except (ValueError, AttributeError):  # Not JSON, or another tree.
    sound = False
  if not sound:
    raise errors.UserError(
      f'{path} is damaged, so nobody can say whether the weights of the priors '
      'changed; put the old file back, or give --workdir a new folder.'
    )
  return weights


def claim(
  workdir: str | os.PathLike,
  run: schema.RunConfig,
  may_change: Sequence[str] = (),
  weights: Weights | None = None,
) -> pathlib.Path:
  """Checks a folder, makes it, and writes the run's configuration into it.

  Changes that were permitted are added to `changes.jsonl` before the new
  configuration replaces the old one.

  Args:
    workdir: the folder.
    run: what is to be run.
    may_change: see `check` and `check_weights`.
    weights: the record of the priors' weights, if they are used.

  Raises:
    NotADirectoryError, UserError, FileNotFoundError: see `check` and
      `check_weights`.
    PermissionError: nothing can be written there, for whatever reason.
  """
  workdir = local_paths.local(workdir)
  changes = check(workdir, run, may_change)
  if weights is not None:
    changes += check_weights(workdir, weights, may_change)
  with locks.writing(workdir, '--workdir'):
    workdir.mkdir(parents=True, exist_ok=True)
    if changes:
      _append_changes(workdir / CHANGES_NAME, changes)
    atomic.write_text(workdir / CONFIG_NAME, serialization.to_json(run))
    if weights is not None:
      _record_weights(workdir, weights)
  return workdir


def _record_weights(workdir: pathlib.Path, weights: Weights) -> None:
  path = workdir / WEIGHTS_NAME
  if path.is_file() and _read_weights(path) == weights:
    return  # Unchanged, so the file keeps the date on which the run began.
  if not path.is_file() and (workdir / 'checkpoints').is_dir():
    warnings.warn(
      f'{workdir} had no {WEIGHTS_NAME}, so nobody can say whether the weights '
      'of the priors are those that it began with.',
      stacklevel=3,
    )
  text = strict_json.dumps(weights, indent=2, sort_keys=True)
  atomic.write_text(path, text + '\n')


def _append_changes(
  path: pathlib.Path, changes: Iterable[config_changes.Change]
) -> None:
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  lines = path.read_text(encoding='utf-8') if path.is_file() else ''
  for change in changes:
    row = {
      'time': now,
      'field': change.field,
      'before': serialization.to_dict(change.before),
      'after': serialization.to_dict(change.after),
    }
    lines += strict_json.dumps(row) + '\n'
  # The whole file is written anew: after an append that was cut short by a
  # kill, the next line would be unreadable too.
  atomic.write_text(path, lines)


def locked(
  workdir: str | os.PathLike,
) -> contextlib.AbstractContextManager[None]:
  """Keeps other runs out of a folder; see `locks.locked`."""
  return locks.locked(workdir, '--workdir')


def check_writable(workdir: pathlib.Path) -> None:
  """Checks, writing nothing, that a folder can be made or written.

  Raises:
    NotADirectoryError, PermissionError, FileNotFoundError: in one line.
  """
  existing = workdir
  while not existing.exists():
    if existing.is_symlink():
      raise FileNotFoundError(
        f'{existing} is a link to {existing.readlink()}, which is not there; '
        'make that folder, or give --workdir another one.'
      )
    existing = existing.parent
  if not existing.is_dir():
    raise NotADirectoryError(
      f'{existing} is a file; give --workdir a folder, or one to be made.'
    )
  if not os.access(existing, os.W_OK | os.X_OK):
    raise PermissionError(
      f'{existing} cannot be written; give --workdir another folder.'
    )


def _read_held_run(workdir: pathlib.Path) -> schema.RunConfig | None:
  """Returns the configuration of the run in a folder; None if it is empty.

  Raises:
    UserError: it holds something else.
  """
  if (workdir / CONFIG_NAME).is_file():
    return read_config(workdir)
  found = workdir.iterdir() if workdir.exists() else ()
  for path in found:
    if not any(fnmatch.fnmatchcase(path.name, name) for name in _LEFT_OVERS):
      raise errors.UserError(
        f'{workdir} is not empty and holds no run; give --workdir a new folder.'
      )
  return None


def read_config(workdir: str | os.PathLike) -> schema.RunConfig:
  """Returns the configuration of the run that a folder holds.

  Raises:
    FileNotFoundError: it holds none.
    UserError: its configuration cannot be read.
  """
  path = local_paths.local(workdir) / CONFIG_NAME
  if not path.is_file():
    raise FileNotFoundError(
      f'{workdir} holds no run: there is no {CONFIG_NAME} in it.'
    )
  try:
    text = path.read_text(encoding='utf-8')
  except UnicodeDecodeError as error:
    raise errors.UserError(f'{path} is no configuration: {error}') from error
  return serialization.from_json(text, str(path))
