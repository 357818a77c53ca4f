import os
import pathlib
import signal
import subprocess
import sys
import time

from mmdist.core import version
from mmdist.distribution import code_shipping
from mmdist.distribution import job_entry

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Stands for the command: it saves when it is asked to end, and says so.
SAVING = """
import signal, sys, time
def save(*_):
  print('saved', flush=True)
  sys.exit(0)
signal.signal(signal.SIGTERM, save)
print('begun', flush=True)
time.sleep(60)
"""


def test_what_a_program_prints_is_shown_and_kept(tmp_path, capfdbinary):
  program = (
    'import sys\n'
    "print('50%', end='\\r', flush=True)\n"
    "print('warned', file=sys.stderr)\n"
    'sys.exit(3)\n'
  )
  with open(tmp_path / 'log', 'ab', buffering=0) as kept:
    assert job_entry.run([sys.executable, '-c', program], kept) == 3
  assert (tmp_path / 'log').read_bytes() == b'50%\rwarned\n'
  assert capfdbinary.readouterr().out == b'50%\rwarned\n'


def test_the_command_is_one_of_mmdist(tmp_path):
  # Of an installed mmdist, where the commands lie inside.
  code_shipping.stage(tmp_path)
  command = [sys.executable, *job_entry._PROGRAM, '--version']
  done = subprocess.run(
    command, env={'PYTHONPATH': str(tmp_path)}, capture_output=True, text=True
  )
  assert done.stdout == f'mmdist {version.VERSION}\n'


def test_a_program_that_a_signal_ended_has_the_code_of_a_shell(tmp_path):
  program = 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'
  with open(tmp_path / 'log', 'ab', buffering=0) as kept:
    code = job_entry.run([sys.executable, '-c', program], kept)
  assert code == 128 + signal.SIGKILL


def test_it_outlives_a_signal_until_the_command_has_saved(tmp_path):
  # As Ray does it: the signal goes to the entry, and to its children.
  log = tmp_path / 'runs' / 'a.log'
  program = (
    'import sys\n'
    'from mmdist.distribution import job_entry\n'
    f"job_entry._PROGRAM = ('-c', {SAVING!r})\n"
    'sys.exit(job_entry.main(sys.argv[1:]))\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', program, str(log), 'optimize'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
  )
  until = time.monotonic() + 30
  while time.monotonic() < until and not (log.exists() and log.read_bytes()):
    time.sleep(0.02)
  children = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children')
  (child,) = children.read_text().split()
  os.kill(process.pid, signal.SIGTERM)
  os.kill(int(child), signal.SIGTERM)
  out, _ = process.communicate(timeout=30)
  assert process.returncode == 0
  assert out == log.read_bytes() == b'begun\nsaved\n'
