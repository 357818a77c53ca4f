"""A test that cannot fail is worth nothing: each guard is taken away once.

The guards are in `guards.toml`. Each case edits a copy of the sources and runs
the guard's own test there, which has to fail.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest

pytestmark = pytest.mark.guards

ROOT = pathlib.Path(__file__).parents[2]
COPIED = ('mmdist', 'launchers', 'experiments', 'tests', 'setup.cfg', 'BUILD')
WITHIN_S = 90


@dataclasses.dataclass(frozen=True)
class Case:
  """A guard; the fields are explained in `guards.toml`."""

  name: str
  file: str
  guard: str
  without: str
  test: str
  hangs: bool = False


CASES = [
  Case(**case)
  for case in tomllib.loads(
    pathlib.Path(__file__).with_name('guards.toml').read_text()
  )['case']
]


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  """A copy of the sources; what is large is linked."""
  tree = tmp_path_factory.mktemp('tree')
  for name in COPIED:
    if (ROOT / name).is_dir():
      shutil.copytree(
        ROOT / name,
        tree / name,
        copy_function=link_or_copy,
        ignore=shutil.ignore_patterns('__pycache__'),
      )
    else:
      shutil.copy(ROOT / name, tree / name)
  return tree


def link_or_copy(source, target):
  if pathlib.Path(source).suffix in ('.py', '.toml', '.json'):
    shutil.copy(source, target)
  else:
    os.symlink(source, target)


def run_test(tree: pathlib.Path, test: str) -> int | None:
  """Returns pytest's exit status, or None if it did not end."""
  environment = dict(os.environ)
  environment.update(
    PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE='1', OMP_NUM_THREADS='1'
  )
  command = [sys.executable, '-m', 'pytest', '-q', '-x', '-m', '']
  with subprocess.Popen(
    [*command, '-p', 'no:cacheprovider', f'tests/{test}'],
    cwd=tree,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
  ) as process:
    try:
      return process.wait(WITHIN_S)
    except subprocess.TimeoutExpired:
      return None
    finally:
      end_group(process)


def end_group(process):
  """Ends what the test may have left, such as a Ray."""
  try:
    os.killpg(process.pid, 9)
  except ProcessLookupError:
    pass


@pytest.mark.parametrize('test', sorted({case.test for case in CASES}))
def test_with_every_guard_the_tests_pass(test, tree):
  assert run_test(tree, test) == 0


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_without_its_guard_a_test_fails(case, tree):
  path = tree / case.file
  text = path.read_text()
  assert text.count(case.guard) == 1, f'{case.file} has no such guard, or more'
  path.write_text(text.replace(case.guard, case.without))
  try:
    status = run_test(tree, case.test)
  finally:
    path.write_text(text)
  # 1: tests ran and one failed. Others mean that nothing was tested.
  assert status == 1 or (status is None and case.hangs)
