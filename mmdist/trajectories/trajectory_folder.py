"""The folder of a trajectory: which one it is, and what is done of it.

Owns `trajectory.json`: every leg's settings, and the sha256 of each result that
is there. `legs/NAME` is the folder of a run like any other, `starts/NAME` holds
what it starts from, and `way/NAME` holds what the film shows of it.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
from typing import Any

from mmdist.config import serialization
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import strict_json
from mmdist.core import version
from mmdist.run import links
from mmdist.run import locks
from mmdist.run import many_runs
from mmdist.run import opening
from mmdist.run import workdir as workdir_lib
from mmdist.trajectories import legs as legs_lib
from mmdist.trajectories import starts
from mmdist.trajectories import way

RECORD_NAME = 'trajectory.json'
LEGS_NAME = 'legs'
LOCK_NAME = '.trajectory.lock'
OUTPUTS = (
  '.*',
  'trajectory.*',
  LEGS_NAME,
  starts.FOLDER,
  way.FOLDER,
  'sheet.png',
)


@dataclasses.dataclass
class Record:
  """What `trajectory.json` holds; it changes as legs end.

  Attributes:
    legs: name -> path of a field -> value, in order.
    results: name -> sha256 of a finished leg's newest checkpoint.
    film: what the film was made with; None if there is none.
  """

  legs: dict[str, dict[str, Any]]
  results: dict[str, str] = dataclasses.field(default_factory=dict)
  film: Any = None


def leg_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the folder of a leg's run."""
  return workdir / LEGS_NAME / name


def state_of(workdir: pathlib.Path, leg: legs_lib.PlannedLeg) -> str:
  """Returns 'finished', 'begun' or 'new', of a leg; opens nothing."""
  folder = leg_folder(workdir, leg.name)
  return many_runs.state_of(folder, leg.config.num_steps)


def check(workdir: pathlib.Path, legs: Sequence[legs_lib.PlannedLeg]) -> Record:
  """Checks, writing nothing, that a trajectory may begin or go on in a folder.

  There may be more legs than before. The legs that have begun must come first,
  with those before them, and have the same settings; one that could not begin
  may have others. No result is opened; see `check_results`.

  Returns:
    The record to go on with.

  Raises:
    NotADirectoryError, UserError: in one line; the folder holds another
      trajectory or something else.
  """
  workdir = local_paths.local(workdir)
  many_runs.check_folder(workdir)
  links.check_inside(workdir, OUTPUTS)
  path = workdir / RECORD_NAME
  now = {leg.name: _describe(leg) for leg in legs}
  if not path.is_file():
    many_runs.check_empty(workdir, 'trajectory', LEGS_NAME)
    return Record(now)
  record = _read(path)
  _check_same(workdir, _begun(workdir, record.legs), now)
  record.legs = now
  record.results = {n: d for n, d in record.results.items() if n in now}
  return record


def _begun(
  workdir: pathlib.Path, legs: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
  """Returns the legs up to the last one that has begun."""
  names = list(legs)
  # A run writes its settings once its priors have room.
  while (
    names
    and not (leg_folder(workdir, names[-1]) / workdir_lib.CONFIG_NAME).is_file()
  ):
    names.pop()
  return {name: legs[name] for name in names}


def _check_same(
  workdir: pathlib.Path,
  before: Mapping[str, Mapping[str, Any]],
  now: Mapping[str, Mapping[str, Any]],
) -> None:
  for number, (name, config) in enumerate(before.items()):
    names = list(now)
    if number >= len(names) or names[number] != name:
      raise errors.UserError(
        f"{workdir} holds another trajectory: its leg {number} is '{name}', "
        f'which this one has not; give --workdir a new folder, or the legs '
        'that it has, after which there may be more.'
      )
    many_runs.check_same(
      workdir, 'trajectory', f"leg '{name}'", config, now[name]
    )


def check_results(
  workdir: pathlib.Path, record: Record, legs: Sequence[legs_lib.PlannedLeg]
) -> None:
  """Checks that no result changed that a later leg started from.

  Args:
    workdir: of the trajectory.
    record: forgets the results of legs that were removed.
    legs: all of them.

  Raises:
    UserError: in one line; a result was changed, or is gone.
  """
  for number, leg in enumerate(legs):
    later = [one.name for one in legs[number + 1 :]]
    there = [n for n in later if leg_folder(workdir, n).exists()]
    state = state_of(workdir, leg)
    if state == 'new':
      record.results.pop(leg.name, None)
    expected = record.results.get(leg.name)
    if state != 'finished' and there:
      raise errors.UserError(
        f'{leg_folder(workdir, leg.name)} is not finished, and '
        f'{there[0]} started from its result; put that back, or remove '
        f'{_listed(workdir, there)} too, and they are made again.'
      )
    if expected and digest_of(workdir, leg) != expected:
      raise errors.UserError(
        f'{leg_folder(workdir, leg.name)} is not what it was when it was '
        'finished: its newest checkpoint has another sha256; put the old one '
        f'back, or remove {_listed(workdir, [leg.name, *there])}, and the same '
        'command makes them again.'
      )


def _listed(workdir: pathlib.Path, names: Sequence[str]) -> str:
  return ' and '.join(str(leg_folder(workdir, name)) for name in names)


def digest_of(workdir: pathlib.Path, leg: legs_lib.PlannedLeg) -> str:
  """Returns the sha256 of a leg's result; '' if it has no sound one."""
  try:
    step, digest = opening.digest(leg_folder(workdir, leg.name))
  except FileNotFoundError:
    return ''
  return digest if step == leg.config.num_steps else ''


def _read(path: pathlib.Path) -> Record:
  try:
    data = json.loads(path.read_text(encoding='utf-8'))
    legs = {leg['name']: dict(leg['config']) for leg in data['legs']}
    return Record(legs, dict(data['results']), data['film'])
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f'{path} is damaged; give --workdir a new folder, or put the old file '
      'back.'
    ) from error


def _describe(leg: legs_lib.PlannedLeg) -> dict[str, Any]:
  return {
    path: serialization.to_dict(value)
    for path, value in serialization.flatten(leg.config).items()
  }


@contextlib.contextmanager
def claimed(
  workdir: pathlib.Path, legs: Sequence[legs_lib.PlannedLeg]
) -> Iterator[Record]:
  """Holds a folder for a trajectory inside the block; gives its record.

  Raises:
    locks.InUse: another process has it.
    UserError, OSError: see `check` and `check_results`.
  """
  check(workdir, legs)
  (workdir / LEGS_NAME).mkdir(parents=True, exist_ok=True)
  with locks.holding(workdir / LOCK_NAME):
    record = check(workdir, legs)
    check_results(workdir, record, legs)
    write(workdir, record)
    yield record


def write(workdir: str | os.PathLike, record: Record) -> None:
  """Writes `trajectory.json`, whole or not at all."""
  data = {
    'mmdist': version.VERSION,
    'legs': [{'name': n, 'config': c} for n, c in record.legs.items()],
    'results': record.results,
    'film': record.film,
  }
  text = strict_json.dumps(data, indent=1) + '\n'
  atomic.write_text(pathlib.Path(workdir) / RECORD_NAME, text)
