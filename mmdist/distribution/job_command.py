"""From the words of a command line to what a job runs on a cluster.

The job starts in a folder of Ray's on another machine. So a path has to be
absolute, the cluster is the one that the job is in, and mmdist came along with
the job.
"""

from collections.abc import Sequence
import dataclasses
import os
import shlex

from mmdist.core import errors
from mmdist.core import names

# The commands that join a cluster; the others use one machine.
COMMANDS = ('optimize', 'sweep')
_MODULE = 'mmdist.distribution.job_entry'


@dataclasses.dataclass(frozen=True)
class JobCommand:
  """What a job runs.

  Attributes:
    words: of the command, its name first.
    workdir: absolute; every machine of the cluster has to see it.
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
    # Without a shell in between, signals reach the program.
    return f'exec {shlex.join(words)}'


def prepare(
  words: Sequence[str],
  folder: str | None = None,
  is_sent: bool = False,
) -> JobCommand:
  """Checks a command and makes it one that runs elsewhere.

  Args:
    words: the command and its flags, files of flags read already.
    folder: that paths are relative to; None: the working directory.
    is_sent: whether a folder is sent along, in which the job starts. Then only
      the work folder is made absolute.

  Raises:
    UserError: it is no command of a cluster, or says no --workdir.
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
  folder = folder or os.getcwd()
  flags = [_made_absolute(word, folder, is_sent) for word in flags]
  workdir = dict(map(_split, flags))['workdir'].rstrip('/')
  # The job has brought its code along, and Ray refuses to be told that twice.
  added = ('--ray_address=auto', '--noship_code')
  return JobCommand((command, *flags, *added), workdir)


def _split(word: str) -> tuple[str, str]:
  """Returns the name and the value of a flag; a word that is none has no name.

  '--workdir DIR', in two words, is not known as one flag.
  """
  name, _, value = word.partition('=')
  return name.lstrip('-') if name.startswith('-') else '', value


def _made_absolute(word: str, folder: str, is_sent: bool) -> str:
  """Returns a flag whose value is no longer relative to a folder of here.

  The work folder is made; any other value has to be a path that is there. An
  experiment is found by its name, on the other machine.
  """
  name, value = _split(word)
  path = os.path.join(folder, os.path.expanduser(value))
  is_path = '/' in value and name != 'config' and os.path.exists(path)
  is_path = is_path and not is_sent
  if name != 'workdir' and not is_path:
    return word
  return f'--{name}={os.path.abspath(path)}'
