import json
import pathlib
import subprocess
import sys

import pytest

from tests.cluster import three_machines
from tests.end_to_end import launching

ROOT = three_machines.ROOT
WITHIN_S = 420


def packages_of(python: str) -> list[str]:
  """Returns where a Python finds mmdist by itself, as if it was installed."""
  program = (
    'import importlib.util as u, json\n'
    "spec = u.find_spec('mmdist')\n"
    'print(json.dumps(list(spec.submodule_search_locations) if spec else []))\n'
  )
  done = subprocess.run(
    [python, '-P', '-c', program],
    cwd='/',
    env={'PATH': '/usr/bin:/bin'},
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


@pytest.fixture(name='machines', scope='session')
def fixture_machines(tmp_path_factory):
  """Three machines; worker a has no mmdist, worker b an old one."""
  reason = three_machines.why_not()
  if reason:
    pytest.skip(f'no cluster of namespaces here: {reason}')
  old = tmp_path_factory.mktemp('old')
  for path in (ROOT / 'mmdist').rglob('*.py'):
    copy = old / path.relative_to(ROOT / 'mmdist')
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(path.read_bytes())
  version = old / 'core' / 'version.py'
  version.write_text(
    version.read_text().replace("VERSION = '", "VERSION = '9.")
  )
  hidden = [str(ROOT / 'mmdist')]
  hidden += [p for p in packages_of(sys.executable) if p not in hidden]
  with three_machines.three_machines(hidden, {'b': old}) as running:
    yield running


@pytest.fixture(name='trained', scope='session')
def fixture_trained(tmp_path_factory) -> pathlib.Path:
  return launching.write_trained(tmp_path_factory.mktemp('trained'))


@pytest.fixture(name='call')
def fixture_call(machines, tmp_path):
  """Runs a command of mmdist on the head, or as a person outside of it.

  A variable that is None is not set.
  """

  def call(command, *words, on_head=False, **variables):
    line = [machines.python, '-m', f'launchers.{command}', *words]
    variables = machines.variables() | {'HOME': str(tmp_path)} | variables
    return subprocess.run(
      machines.on_head(*line) if on_head else line,
      cwd=ROOT,
      env={k: v for k, v in variables.items() if v is not None},
      capture_output=True,
      text=True,
      timeout=WITHIN_S,
    )

  return call
