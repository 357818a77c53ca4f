"""Runs the tests that need a GPU, and makes rows of what they have measured."""

import pathlib
import subprocess
import sys
from xml.etree import ElementTree

from experiments.benchmarks import gpu_job

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measure(job: gpu_job.Job) -> None:
  """Fills the table of tests; what each recorded of itself is in its row."""
  file = job.folder / 'tests.xml'
  command = [sys.executable, '-m', 'pytest', 'tests/gpu', '-m', 'gpu', '-v']
  command += ['-rs', '-p', 'no:cacheprovider', f'--junitxml={file}']
  command += ['-o', 'junit_family=xunit1']  # Which has what tests record.
  try:
    subprocess.run(command, cwd=ROOT, timeout=max(job.time_left() - 2, 1))
  except subprocess.TimeoutExpired:
    job.add('tests', {'test': 'all', 'outcome': 'did not end in time'})
    return
  for row in rows_of(file):
    job.add('tests', row)


def rows_of(file: pathlib.Path) -> list[gpu_job.Row]:
  """Returns a row per test of a report as pytest writes it."""
  return [_row(case) for case in ElementTree.parse(file).iter('testcase')]


def _row(case: ElementTree.Element) -> gpu_job.Row:
  outcome, why = 'passed', ''
  for kind in ('failure', 'error', 'skipped'):
    found = case.find(kind)
    if found is not None:
      outcome = kind
      why = ' '.join(found.get('message', '').split())[:160]
  recorded = [
    f'{one.get("name")} {one.get("value")}' for one in case.iter('property')
  ]
  return {
    'test': case.get('name'),
    'outcome': outcome,
    'seconds': float(case.get('time', 0)),
    'measured': '; '.join(recorded),
    'why': why,
  }
