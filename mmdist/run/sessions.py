"""When, where and by which command a run was worked on, one line each time.

Owns `sessions.jsonl` in the run's folder. A run that is resumed has a line for
each time that it went on. Only the report reads them.
"""

from collections.abc import Iterator, Mapping
import contextlib
import contextvars
import datetime
import json
import os
import pathlib
import shlex
import sys
from typing import Any

from mmdist.core import atomic
from mmdist.core import strict_json
from mmdist.run import snapshots

SESSIONS_NAME = 'sessions.jsonl'
# The script of Ray's own processes. Its flags hold Ray's secrets and nothing
# about the run, so they are not written down.
_RAY_WORKER = 'default_worker.py'
_given: contextvars.ContextVar[str] = contextvars.ContextVar(
  'command', default=''
)


def record(workdir: str | os.PathLike, first_step: int) -> None:
  """Adds a line about this process.

  Args:
    workdir: the run's folder.
    first_step: with which the run begins or goes on.

  Raises:
    OSError: it cannot be written.
  """
  path = pathlib.Path(workdir) / SESSIONS_NAME
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  row = {
    'began': now,
    'first_step': first_step,
    'command': command(),
    'processor': processor(),
    'fingerprint': snapshots.fingerprint(),
  }
  before = path.read_text(encoding='utf-8') if path.is_file() else ''
  # Written anew, because a line that was cut short would spoil the next one.
  atomic.write_text(path, before + strict_json.dumps(row) + '\n')


def read(workdir: str | os.PathLike) -> list[Mapping[str, Any]]:
  """Returns the lines, oldest first; none of a run of an old version.

  A line that cannot be read is left out.
  """
  path = pathlib.Path(workdir) / SESSIONS_NAME
  if not path.is_file():
    return []
  rows: list[Mapping[str, Any]] = []
  for line in path.read_text(encoding='utf-8').splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue
    if isinstance(row, dict):
      rows.append(row)
  return rows


@contextlib.contextmanager
def commanded(by: str) -> Iterator[None]:
  """Inside, runs are made by this command, which another process was given.

  Args:
    by: as `command` of that process returns it; '' for none.
  """
  token = _given.set(by)
  try:
    yield
  finally:
    _given.reset(token)


def command() -> str:
  """Returns the command that a person has typed, without folders of programs.

  It is that of this process, unless `commanded` says another one's. A notebook
  and a process of Ray have none; they are named instead.
  """
  if given := _given.get():
    return given
  if 'ipykernel' in sys.modules:
    return 'a notebook'
  script = os.path.basename(sys.argv[0] if sys.argv else '')
  if script == _RAY_WORKER:
    return 'a process of Ray'
  if script == 'mmdist':
    return shlex.join([script, *sys.argv[1:]])
  program, *words = sys.orig_argv
  return shlex.join([os.path.basename(program), *words])


def processor() -> str:
  """Returns the name of the processor; '' where the system does not say."""
  try:
    lines = (
      pathlib.Path('/proc/cpuinfo').read_text('utf-8', 'replace').splitlines()
    )
  except OSError:
    return ''
  named = [line for line in lines if line.startswith('model name')]
  return named[0].partition(':')[2].strip() if named else ''
