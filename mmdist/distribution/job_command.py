"""From the words of a command line to what a job runs on a cluster.

The job starts in a folder of Ray's on another machine. So a path has to be
absolute, the cluster is the one that the job is in, and mmdist came along with
the job.
"""

from collections.abc import Sequence
import dataclasses
import os
import re
import shlex

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import lora_lists
from mmdist.core import names

# The commands that join a cluster; the others use one machine.
COMMANDS = ('optimize', 'sweep', 'trajectory')
_MODULE = 'mmdist.distribution.job_entry'
# The flags of these commands whose values are paths of files or folders.
PATHS = re.compile(
  r'workdir|cells|judge|config|'
  r'config\.(.*\.)?(nerf_assets|directory|lora|base|results\.judge)'
)
_LORAS = re.compile(r'config\.(.*\.)?loras')


@dataclasses.dataclass(frozen=True)
class JobCommand:
  """What a job runs.

  Attributes:
    words: of the command, its name first.
    workdir: absolute path; every machine of the cluster has to see it.
  """

  words: tuple[str, ...]
  workdir: str

  def log_of(self, job: str) -> str:
    """Returns the file beside the work folder that keeps a job's log."""
    return f'{self.workdir}.{job}.log'

  def entrypoint(self, job: str, python: str) -> str:
    """Returns the line that Ray gives to a shell.

    Args:
      job: the id of the job.
      python: how the machine of the job calls Python.
    """
    words = [python, '-m', _MODULE, self.log_of(job), *self.words]
    # `exec` replaces the shell, so that signals reach the program.
    return f'exec {shlex.join(words)}'


def prepare(
  words: Sequence[str],
  folder: str | None = None,
  is_sent: bool = False,
) -> JobCommand:
  """Checks a command and makes it one that runs elsewhere.

  Args:
    words: the command and its flags; --flagfile has been read already.
    folder: the one that paths are relative to; None: the working directory.
    is_sent: whether a folder is sent along, in which the job starts. Then other
      paths are relative to that folder, and only --workdir is made absolute.

  Raises:
    UserError: it is not one of `COMMANDS`, has no --workdir that a log can be
      kept beside, has a --ray_address, or a path is refused by `local_paths`.
  """
  if not words:
    raise errors.UserError(
      "expected a command after '--', as in mmdist submit ... -- optimize "
      '--config=generate --workdir=/shared/runs/NAME'
    )
  command, *flags = words
  names.check_choice('the command of a job', command, COMMANDS)
  known = dict(map(_split, flags))
  if 'ray_address' in known:
    raise errors.UserError(
      'a --ray_address stands after the --; a job runs in the cluster that it '
      'is submitted to: leave it out there.'
    )
  if not known.get('workdir'):
    raise errors.UserError(
      f'{command} has no --workdir=DIR; expected one after the --, a folder '
      'that every machine of the cluster sees.'
    )
  for name, value in map(_split, flags):
    if PATHS.fullmatch(name):
      local_paths.expand(value, f'--{name}')
    elif _LORAS.fullmatch(name):
      for file, _ in lora_lists.parse(value, f'--{name}'):
        local_paths.expand(file, f'--{name}')
  folder = folder or os.getcwd()
  flags = [_made_absolute(word, folder, is_sent) for word in flags]
  workdir = dict(map(_split, flags))['workdir'].rstrip('/')
  if not workdir:
    raise errors.UserError(
      '--workdir is /, and the log of a job is kept beside the work folder; '
      'expected a folder below it.'
    )
  # The job brings its code along, and Ray refuses a second set of it.
  added = ['--noship_code']
  # With priors in the learner's process there is nothing to join; the cells of
  # a sweep are spread over the machines in any case.
  if known.get('executor') != 'inline' or command == 'sweep':
    added.insert(0, '--ray_address=auto')
  return JobCommand((command, *flags, *added), workdir)


def _full(path: str, folder: str) -> str:
  """Returns a path that exists here as an absolute one; others as they are."""
  full = os.path.join(folder, os.path.expanduser(path))
  return os.path.abspath(full) if os.path.exists(full) else path


def _split(word: str) -> tuple[str, str]:
  """Returns the name and the value of a flag; of another word, '' as the name.

  A flag whose value is a word of its own, as in '--workdir DIR', has no value
  here.
  """
  name, _, value = word.partition('=')
  return name.lstrip('-') if name.startswith('-') else '', value


def _made_absolute(word: str, folder: str, is_sent: bool) -> str:
  """Returns a flag with an absolute path, if its value is a path.

  The work folder need not exist yet. Any other value is taken for a path if it
  holds a '/' and exists on this machine. --config stays as it is: the other
  machine finds an experiment by its name.
  """
  name, value = _split(word)
  if _LORAS.fullmatch(name) and not is_sent:
    loras = lora_lists.parse(value, f'--{name}')
    return f'--{name}={[(_full(file, folder), w) for file, w in loras]}'
  path = os.path.join(folder, os.path.expanduser(value))
  is_path = '/' in value and name != 'config' and os.path.exists(path)
  is_path = is_path and not is_sent
  if name != 'workdir' and not is_path:
    return word
  return f'--{name}={os.path.abspath(path)}'
