"""Whether a run resumes bit for bit in another process, on this GPU.

XLA measures which kernels are fast, and another process may choose others; sums
by atomic additions have no order. So the smoke run is made in processes that
share nothing, not even compiled programs: whole, twice, and stopped and
resumed; as the product is, and without the flag of XLA that it sets.
"""

import argparse
from collections.abc import Sequence
import functools
import os
import pathlib
import subprocess
import sys
import time

from experiments import smoke
from experiments.benchmarks import gpu_job
from mmdist.api import optimization
from mmdist.run import callbacks

NUM_STEPS, STOP = 4, 2
FLAG = '--xla_gpu_deterministic_ops=false'


def measure(job: gpu_job.Job) -> None:
  """Fills the table: a row per way to compile."""
  for deterministic in (True, False):
    name = 'as it is' if deterministic else FLAG
    job.attempt(
      'bits: smoke run in processes of their own',
      {'xla': name},
      functools.partial(_compare, job, deterministic),
      needs_s=10,
    )


def _compare(job: gpu_job.Job, deterministic: bool) -> gpu_job.Row:
  folder = job.folder / f'bits-{deterministic}'
  folder.mkdir()
  start = time.monotonic()
  # Side by side; each in a folder, and with a cache, of its own.
  first = _start(job, folder / 'one', deterministic)
  second = _start(job, folder / 'two', deterministic)
  stopped = _start(job, folder / 'three', deterministic, STOP)
  try:
    whole, again, half = (_end(job, one) for one in (first, second, stopped))
  finally:
    for one in (first, second, stopped):
      one.kill()
      one.wait()
  seconds = time.monotonic() - start
  if half[2] != str(STOP):
    raise RuntimeError(f'a run was to stop after {STOP} steps, not {half[2]}')
  resumed = _end(job, _start(job, folder / 'three', deterministic))
  return {
    'two runs are equal': whole[0] == again[0],
    'a resumed run is equal': whole[0] == resumed[0],
    'step_s': float(whole[1]),
    'wall_s': seconds,
  }


def _start(
  job: gpu_job.Job,
  folder: pathlib.Path,
  deterministic: bool,
  stop: int = 0,
) -> subprocess.Popen:
  command = [sys.executable, '-m', 'experiments.benchmarks.gpu_bits']
  command += [f'--folder={folder}', f'--stop={stop}', f'--device={job.device}']
  return subprocess.Popen(
    command + ['--measured'] * (not deterministic),
    stdout=subprocess.PIPE,
    text=True,
  )


def _end(job: gpu_job.Job, process: subprocess.Popen) -> list[str]:
  """Returns the last line, in words: digest, seconds of a step, last step."""
  said, _ = process.communicate(timeout=max(job.time_left() - 2, 1))
  if process.returncode:
    raise RuntimeError(f'a run ended with exit {process.returncode}')
  return said.strip().splitlines()[-1].split()


def main(arguments: Sequence[str] | None = None) -> None:
  """Makes one run, and prints its digest and the seconds of its last step."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--folder', type=pathlib.Path, required=True)
  parser.add_argument('--stop', type=int, default=0)
  parser.add_argument('--device', default='auto')
  parser.add_argument('--measured', action='store_true')
  given = parser.parse_args(arguments)
  # Before JAX's first computation. A resumed run has another cache as well.
  cache = f'{given.folder}-cache-{time.monotonic_ns()}'
  os.environ['XDG_CACHE_HOME'] = cache
  if given.measured:
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'{flags} {FLAG}'.strip()
  config = smoke.get_config()
  config.num_steps = NUM_STEPS
  config.results.judge = ''
  for prior in config.priors.values():
    prior.device = given.device

  def stop_there(step: callbacks.Step) -> None:
    if step.number == given.stop:
      step.stop()

  run = optimization.optimize(
    None, given.folder, config=config, executor='inline', on_step=stop_there
  )
  print(run.digest(), run.metrics[-1]['step_seconds'], run.step)


if __name__ == '__main__':
  main()
