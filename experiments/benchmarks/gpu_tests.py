"""Runs the tests that need a GPU, and makes a row of each.

This module is a plugin of pytest as well: it writes the row of a test as soon
as that has ended, so that the rows of a run that is killed are there.
"""

from collections.abc import Sequence
import pathlib
import subprocess
import sys
from typing import Any

from experiments.benchmarks import gpu_job

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = 'tests'
_OPTION = '--gpu-rows'


def measure(
  job: gpu_job.Job, tests: Sequence[str] = ('tests/gpu', '-m', 'gpu')
) -> None:
  """Fills the table of tests; what each recorded of itself is in its row."""
  command = [sys.executable, '-m', 'pytest', *tests, '-rA', '--tb=line']
  command += ['-p', 'no:cacheprovider', '-p', __name__, f'{_OPTION}={job.rows}']
  try:
    found = subprocess.run(
      command, cwd=ROOT, timeout=max(job.time_left() - 2, 1)
    )
  except subprocess.TimeoutExpired:
    job.add(TABLE, {'test': 'all', 'outcome': 'did not end in time'})
    return
  job.add(TABLE, {'test': 'all', 'outcome': f'exit {found.returncode}'})


class _Rows:
  """Hears of tests, and writes their rows."""

  def __init__(self, rows: pathlib.Path):
    self._job = gpu_job.Job(rows, rows.parent, 0.0)

  def pytest_runtest_logreport(self, report: Any) -> None:
    # What a test does is its call; where it has none, its set-up says why.
    if report.when == 'call' or report.outcome != 'passed':
      self._job.add(TABLE, row_of(report))


def row_of(report: Any) -> gpu_job.Row:
  """Returns the row of one test, as pytest reports it."""
  return {
    'test': report.nodeid.removeprefix('tests/gpu/'),
    'outcome': report.outcome,
    'seconds': report.duration,
    'measured': '; '.join(f'{name} {one}' for name, one in _recorded(report)),
    'why': ' '.join(_why(report).split())[:300],
  }


def _recorded(report: Any) -> list[tuple[str, Any]]:
  properties: list[tuple[str, Any]] = report.user_properties
  return properties


def _why(report: Any) -> str:
  """Returns why a test did not pass, in as few words as pytest has."""
  if report.outcome == 'passed':
    return ''
  said = report.longrepr
  if isinstance(said, tuple):  # Skipped: file, line and reason.
    return str(said[2])
  crash = getattr(said, 'reprcrash', None)
  if crash is None:
    return str(said)
  return f'{pathlib.Path(crash.path).name}:{crash.lineno}: {crash.message}'


def pytest_addoption(parser: Any) -> None:
  """Adds the option of this plugin."""
  parser.addoption(_OPTION, type=pathlib.Path, help='File of rows to add to.')


def pytest_configure(config: Any) -> None:
  """Has the tests' rows written where the option says."""
  rows = config.getoption(_OPTION)
  if rows is not None:
    config.pluginmanager.register(_Rows(rows))
