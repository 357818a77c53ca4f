"""Runs of `tests.chaos.victim`, and what they leave behind."""

import os
import pathlib
import subprocess
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).parents[2]
MARK = 'MMDIST_CHAOS'


def start(
  *arguments,
  cache: pathlib.Path | None = None,
  module: str = 'tests.chaos.victim',
) -> subprocess.Popen:
  """Starts a victim; all that it starts carries its mark."""
  environment = {
    **os.environ,
    MARK: uuid.uuid4().hex,
    'PYTHONPATH': str(ROOT),
    'OMP_NUM_THREADS': '1',
  }
  if cache is not None:
    environment['JAX_COMPILATION_CACHE_DIR'] = str(cache)
    environment['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'
  process = subprocess.Popen(
    [sys.executable, '-m', module, *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  process.mark = environment[MARK]
  return process


def finish(process: subprocess.Popen, timeout_s: float = 300.0):
  """Waits for the end: (exit code, stdout, stderr)."""
  out, errors = process.communicate(timeout=timeout_s)
  return process.returncode, out, errors


def run(*arguments, cache=None):
  return finish(start(*arguments, cache=cache))


def digest(*arguments, cache=None) -> str:
  """Runs a victim to its end and returns what it printed."""
  code, out, errors = run(*arguments, cache=cache)
  assert code == 0, errors
  return out.strip().splitlines()[-1]


def wait_for_steps(workdir: pathlib.Path, count: int, process) -> None:
  """Returns when a run has told of so many steps."""
  metrics = workdir / 'metrics.jsonl'
  until = time.monotonic() + 120
  while time.monotonic() < until and process.poll() is None:
    if metrics.exists() and metrics.read_text().count('\n') >= count:
      return
    time.sleep(0.02)
  raise AssertionError(process.communicate()[1])


def wait_for_file(folder: pathlib.Path, process) -> None:
  """Returns when there is anything in a folder, such as a fault's mark."""
  until = time.monotonic() + 120
  while time.monotonic() < until and process.poll() is None:
    if any(folder.iterdir()):
      return
    time.sleep(0.02)
  raise AssertionError(process.communicate()[1])


def survivors(mark: str) -> list[str]:
  """Returns the command lines of the processes that carry a mark."""
  found = []
  for folder in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      if f'{MARK}={mark}'.encode() in (folder / 'environ').read_bytes():
        command = (folder / 'cmdline').read_bytes().replace(b'\0', b' ')
        found.append(command.decode(errors='replace'))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
      continue
  return [command for command in found if command.strip()]
