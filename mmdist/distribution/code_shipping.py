"""The code of mmdist on its way to other machines of a cluster.

A worker then needs the packages that mmdist needs, but not mmdist itself, and
it runs the learner's code, whatever is installed there. Ray stores what it was
sent under a hash, so the same code travels once.
"""

import os
import pathlib
import shutil
import socket
import sys
from typing import Any

from mmdist.core import errors
from mmdist.core import source_hash

_EXCLUDED = ('__pycache__', '*.pyc', '.git', 'runs')


class OtherCode(errors.UserError):
  """A worker has another mmdist than the learner."""


def driver_env(folder: str | os.PathLike) -> dict[str, Any]:
  """Returns Ray's runtime environment for the workers of this process.

  Args:
    folder: an empty one, for what is sent; it has to stay until Ray has read
      it.
  """
  stage(folder)
  # The code is sent as a working directory, not as `py_modules`. Without a
  # working directory, workers would look for modules first in the folder that
  # this process is in; an old checkout at the same place on a worker would win
  # over the code that was sent. So that the person's own modules are still
  # found, their folders are named here, after the code that was sent.
  own = os.pathsep.join(dict.fromkeys([os.getcwd(), *_script_folder()]))
  return {'working_dir': str(folder), 'env_vars': {'PYTHONPATH': own}}


def job_env(folder: str | os.PathLike, working_dir: str = '') -> dict[str, Any]:
  """Returns Ray's runtime environment for a job that starts elsewhere.

  Args:
    folder: as of `driver_env`.
    working_dir: a folder of the person's own, in which the job is to start.
  """
  staged = stage(folder)
  if not working_dir:
    return {'working_dir': str(folder)}
  return {
    'working_dir': os.path.abspath(working_dir),
    'py_modules': [str(staged)],
    'excludes': list(_EXCLUDED),
  }


def _script_folder() -> list[str]:
  """Returns the folder of the running program, if modules are found there."""
  folder = os.path.dirname(os.path.realpath(sys.argv[0]))
  return [folder] if folder in sys.path else []


def stage(folder: str | os.PathLike) -> pathlib.Path:
  """Copies mmdist as a wheel has it, with its commands inside; returns where.

  In a checkout the commands and the experiments lie beside the package; a job
  that is started on another machine needs them, too.

  Args:
    folder: `mmdist` is made in it.
  """
  package = source_hash.PACKAGE
  staged = pathlib.Path(folder) / package.name
  ignored = shutil.ignore_patterns(*_EXCLUDED)
  shutil.copytree(package, staged, ignore=ignored)
  for name in source_hash.BESIDE:
    beside = package.parent / name
    if not (staged / name).exists() and beside.is_dir():
      shutil.copytree(beside, staged / name, ignore=ignored)
  return staged


def check_same(learners: str) -> None:
  """Raises OtherCode unless this process runs the learner's code.

  Args:
    learners: what `source_hash.name_code` returns there; '' is not compared.
  """
  ours = source_hash.name_code()
  if learners and learners != ours:
    raise OtherCode(
      f'the worker on {socket.gethostname()} has mmdist {ours} and the learner '
      f'has {learners}; install the same there, or leave --ship_code on.'
    )
