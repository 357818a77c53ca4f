"""What a job runs on the cluster: one command of mmdist, and its log kept.

  python -m mmdist.distribution.job_entry LOG COMMAND [FLAG ...]

Ray keeps a job's log on the head's own disk, and it is lost with the head. So
whatever the command prints is written to LOG as well, which lies beside the
work folder. Only Python's own library is imported here.
"""

from collections.abc import Sequence
import os
import pathlib
import signal
import subprocess
import sys
from typing import BinaryIO

_PROGRAM = (
  '-c',
  'import sys; from mmdist.launchers import console; '
  "console.main(['mmdist', *sys.argv[1:]])",
)


def main(words: Sequence[str]) -> int:
  """Runs a command to its end; returns its exit code, as a shell has it.

  Args:
    words: the log's path, then the words of the command.
  """
  log, *command = words
  # Ray sends the signal to the command as well. This process stays until the
  # command has saved and ended, so that its last lines are kept.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: None)
  pathlib.Path(log).parent.mkdir(parents=True, exist_ok=True)
  with open(log, 'ab', buffering=0) as kept:
    return run([sys.executable, *_PROGRAM, *command], kept)


def run(command: Sequence[str], kept: BinaryIO) -> int:
  """Runs a program; what it prints goes to stdout and to a file.

  Args:
    command: the program and its arguments.
    kept: an unbuffered file that is written to.

  Returns:
    Its exit code; after a signal 128 plus the signal's number, as in a shell.
  """
  process = subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
  )
  # Read as it comes and not by lines, since progress bars write no line ends.
  while chunk := os.read(_descriptor(process), 65536):
    kept.write(chunk)
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
  code = process.wait()
  return code if code >= 0 else 128 - code


def _descriptor(process: subprocess.Popen) -> int:
  return process.stdout.fileno() if process.stdout else -1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
