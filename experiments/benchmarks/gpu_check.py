"""Everything that a machine with a GPU can say about mmdist, in one command.

  make gpu-check GPU_FLAGS='--out=gpu.md'
  PYTHONPATH=. python3 -m experiments.benchmarks.gpu_check --out=gpu.md
  ... --parts=keeping,steps,tests --minutes=3.4
  ... --tiny                        # a dry run of seconds on a CPU

At most eight minutes on a large GPU (--minutes); a part for which no time is
left says so, and can be run alone. Parts are run in the order in which they are
given. Each is a process of its own, so that memory of the GPU is given back,
and a part that hangs or crashes takes nothing with it. After every part the
tables are written to --out, as Markdown and beside it as JSON.

  versions  device, driver, packages
  keeping   a step of the paper's NeRF with 0, 1, 2, ... chunks kept
  steps     steps of a run with two random priors of Stable Diffusion 1.5's size
  tests     tests/gpu, a row for each
  learner   passes of a NeRF of the paper's size: seconds, FLOPs, memory
  large     a score and a fit of a random Stable Diffusion XL
  sharing   1, 2, 4, 8 priors of 1.5's size and the learner on one GPU
  priors    a score and a fit of one such prior: views, graphs, batches
  pretraining  rays per second of a pretraining
  demo      the smoke run and the demo, inline
  bits      whether a run resumes bit for bit in another process
  ray       a run and a sweep in Ray's actors
  profiles  where the time of a score and of a fit goes, by operation
"""

import argparse
from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

from experiments.benchmarks import gpu_job
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = (
  'jax',
  'jaxlib',
  'torch',
  'transformers',
  'diffusers',
  'peft',
  'flax',
  'numpy',
  'ray',
)


@dataclasses.dataclass(frozen=True)
class Part:
  """One part.

  Attributes:
    place: 'module:function' beside this file. It is imported in the part's own
      process: whatever a part imports may break without breaking the others.
    budget_s: when it is killed.
  """

  place: str
  budget_s: float


# In the order in which they run: what is wanted most comes first.
PARTS: Mapping[str, Part] = {
  'versions': Part('gpu_check:describe', 40),
  'keeping': Part('gpu_keeping:measure', 75),
  'steps': Part('gpu_sharing:measure_steps', 65),
  'tests': Part('gpu_tests:measure', 120),
  'learner': Part('gpu_learner:measure', 150),
  'large': Part('gpu_priors:measure_large', 90),
  'sharing': Part('gpu_sharing:measure', 150),
  'priors': Part('gpu_priors:measure', 90),
  'pretraining': Part('gpu_pretraining:measure', 90),
  'demo': Part('gpu_runs:measure_demo', 120),
  'bits': Part('gpu_bits:measure', 120),
  'ray': Part('gpu_ray:measure', 120),
  'profiles': Part('gpu_priors:measure_profiles', 90),
}


def describe(job: gpu_job.Job) -> None:
  """Notes what JAX and torch see; versions are in every title."""
  import jax
  import torch

  found = torch.cuda.get_device_properties(0) if not job.tiny else None
  job.add('versions', {'what': 'jax.devices()', 'value': str(jax.devices())})
  job.add(
    'versions',
    {
      'what': 'torch',
      'value': f'CUDA {torch.version.cuda}, {found.name}, '
      f'{found.total_memory / 2**30:.1f} GiB'
      if found
      else 'cpu',
    },
  )


def title() -> list[str]:
  """Returns device, driver, versions and date, a line each."""
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  versions = [f'Python {platform.python_version()}']
  for name in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions.append(f'{name} {importlib.metadata.version(name)}')
  return ['# GPU check', '', f'{_device()}, {now}', '', ', '.join(versions)]


def _device() -> str:
  """Returns the GPU's name and driver, as nvidia-smi has them."""
  query = ['--query-gpu=name,driver_version,memory.total', '--format=csv']
  try:
    said = subprocess.run(
      ['nvidia-smi', *query, '-i', '0'], capture_output=True, text=True
    )
  except FileNotFoundError:
    return 'no GPU'
  lines = said.stdout.strip().splitlines()
  return f'{lines[-1]} (name, driver, memory)' if len(lines) > 1 else 'no GPU'


def run_part(
  name: str, seconds: float, folder: pathlib.Path, tiny: bool
) -> gpu_job.Tables:
  """Runs one part in its own process, and returns its tables."""
  rows = folder / f'{name}.jsonl'
  log = folder / f'{name}.log'
  command = [sys.executable, '-m', 'experiments.benchmarks.gpu_check']
  command += [f'--child={name}', f'--folder={folder}', f'--part_s={seconds}']
  start = time.monotonic()
  with log.open('wb') as file:
    child = subprocess.Popen(
      command + ['--tiny'] * tiny,
      cwd=ROOT,
      stdout=file,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )
    try:
      ended = f'exit {child.wait(seconds)}'
    except subprocess.TimeoutExpired:
      ended = f'killed after {seconds:.0f} s'
    finally:
      # What it has started as well, also where it has ended by itself.
      with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
      child.wait()
  row: gpu_job.Row = {'part': name, 'seconds': time.monotonic() - start}
  row['ended'] = 'well' if ended == 'exit 0' else ended
  if ended != 'exit 0':
    lines = log.read_text('utf-8', 'replace').strip().splitlines()
    row['last words'] = ' / '.join(lines[-3:])[-400:]
    print('\n'.join(lines[-25:]), file=sys.stderr)
  return {'parts': [row]} | gpu_job.read_rows(rows)


def check(
  parts: Sequence[str], seconds: float, out: pathlib.Path, tiny: bool
) -> gpu_job.Tables:
  """Runs parts one after the other; writes the tables after each.

  Args:
    parts: names of `PARTS`.
    seconds: of all together.
    out: the Markdown file; '.json' beside it has every digit.
    tiny: as small as it gets, on the CPU.
  """
  unknown = sorted(set(parts) - set(PARTS))
  if unknown:
    raise errors.UserError(
      f"no part is called '{unknown[0]}'; parts: {', '.join(PARTS)}."
    )
  if not out.parent.is_dir():
    raise errors.UserError(f'{out.parent} is no folder; give --out in one.')
  end = time.monotonic() + seconds
  head = title()
  tables: gpu_job.Tables = {'parts': []}
  with tempfile.TemporaryDirectory(prefix='mmdist-gpu-') as folder:
    for name in parts:
      left = min(PARTS[name].budget_s, end - time.monotonic())
      if left < 5:
        tables['parts'].append({'part': name, 'ended': 'no time left'})
      else:
        found = run_part(name, left, pathlib.Path(folder), tiny)
        tables['parts'] += found.pop('parts')
        tables |= found
      text = gpu_job.to_markdown(head, tables)
      atomic.write_text(out, text)
      known = {'title': head, 'tables': tables}
      atomic.write_text(
        out.with_suffix('.json'), strict_json.dumps(known, indent=2) + '\n'
      )
      print(f'{name}: {tables["parts"][-1]["ended"]}', flush=True)
  print(text)
  return tables


def run_child(
  name: str, folder: pathlib.Path, seconds: float, tiny: bool
) -> None:
  """Runs a part in this process."""
  # The learner shares the GPU with torch in most parts.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  if tiny:
    os.environ['JAX_PLATFORMS'] = 'cpu'
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
  end = time.monotonic() + seconds
  job = gpu_job.Job(folder / f'{name}.jsonl', folder, end, tiny)
  module, function = PARTS[name].place.split(':')
  imported = importlib.import_module(f'experiments.benchmarks.{module}')
  getattr(imported, function)(job)


def main(arguments: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--parts', default=','.join(PARTS))
  parser.add_argument('--minutes', type=float, default=8.0)
  parser.add_argument('--out', type=pathlib.Path, default='gpu_check.md')
  parser.add_argument('--tiny', action='store_true')
  parser.add_argument('--child', choices=PARTS, help=argparse.SUPPRESS)
  parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
  parser.add_argument('--part_s', type=float, help=argparse.SUPPRESS)
  given = parser.parse_args(arguments)
  if given.child:
    run_child(given.child, given.folder, given.part_s, given.tiny)
    return 0
  try:
    seconds = 60 * given.minutes
    check(given.parts.split(','), seconds, given.out, given.tiny)
  except errors.UserError as error:
    print(error, file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
