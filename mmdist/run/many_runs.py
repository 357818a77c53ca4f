"""Folders that hold several runs: a sweep's cells, a trajectory's legs.

What both ask before they write anything: whether the folder is new or theirs,
whether each run in it is what it was, and how far it is.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from mmdist.config import changes as config_changes
from mmdist.core import errors
from mmdist.run import workdir as workdir_lib

LAST_RESULT = 'report.html'  # Of a run: it is written last.


def state_of(workdir: pathlib.Path, num_steps: int) -> str:
  """Returns 'finished', 'begun' or 'new', of a run; opens no checkpoint.

  Args:
    workdir: the run's folder, there or not.
    num_steps: that the run is to take.
  """
  if not (workdir / workdir_lib.CONFIG_NAME).is_file():
    return 'new'
  last = workdir / 'checkpoints' / str(num_steps)
  if last.is_dir() and (workdir / LAST_RESULT).is_file():
    return 'finished'
  return 'begun'


def check_folder(workdir: pathlib.Path) -> None:
  """Raises NotADirectoryError if a file is there."""
  if workdir.is_file():
    raise NotADirectoryError(
      f'{workdir} is a file; give --workdir a folder, or one to be made.'
    )


def check_empty(workdir: pathlib.Path, what: str, runs_name: str) -> None:
  """Checks that a folder without a record holds nothing else.

  Args:
    workdir: the folder, there or not.
    what: is to be made in it, e.g. 'sweep'.
    runs_name: the folder in it that the runs are in.

  Raises:
    UserError: in one line; it holds something.
  """
  found = workdir.iterdir() if workdir.exists() else ()
  for path in found:
    # A process that was killed before it wrote its record leaves these.
    if path.name.startswith('.'):
      continue
    if path.name == runs_name and path.is_dir() and not any(path.iterdir()):
      continue
    is_run = path.name == workdir_lib.CONFIG_NAME
    raise errors.UserError(
      f'{workdir} holds {"a run" if is_run else "something else"} '
      f'({path.name}) and no {what}; give --workdir a new folder.'
    )


def check_same(
  workdir: pathlib.Path,
  what: str,
  part: str,
  before: Mapping[str, Any],
  now: Mapping[str, Any],
) -> None:
  """Checks that no setting of a run changed that decides its result.

  Args:
    workdir: the folder.
    what: it holds, e.g. 'sweep'.
    part: which run, e.g. "cell 'a'".
    before, now: its configuration, path -> value.

  Raises:
    UserError: in one line, by the first field that differs.
  """
  for change in config_changes.find_changes(before, now):
    if not config_changes.is_free(change.field):
      raise errors.UserError(
        f'{workdir} holds another {what}: in its {part} {change}; give the old '
        'values to go on, or --workdir a new folder.'
      )
