"""`mmdist submit`: a command that runs on a cluster, begun and followed here.

A job goes on if nobody follows it, and can be followed again later. Ray takes
no id twice, so each submission of a job is an attempt with a number, and the
name of the job stands for its newest attempt.
"""

import asyncio
from collections.abc import Callable, Sequence
import dataclasses
import math
import os
import tempfile
import time
from typing import Any

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import names
from mmdist.core import options as options_lib
from mmdist.core import saying
from mmdist.core import source_hash
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import job_client
from mmdist.distribution import job_command

# How long a job may take to save before Ray kills it; Ray's default of 3 s is
# too short.
STOP_WITHIN_S = 90
_POLL_S = 1.0
# A head that restarts answers again within this time.
_HEAD_GONE_S = 60.0
# What a job carries as metadata: the path of its log, and its code's name.
_LOG = 'mmdist_log'
_CODE = 'mmdist_code'


@dataclasses.dataclass(frozen=True)
class Options:
  """Which job is meant, and what is done about it."""

  ray_address: str = options_lib.option(
    options_lib.REQUIRED, "The head's job server, http://HEAD:8265."
  )
  job: str = options_lib.option(
    options_lib.REQUIRED, 'Name of the job; its id is NAME-attempt-N.'
  )
  reconnect: bool = options_lib.option(
    False, 'Follow the newest attempt, from the beginning of its log.'
  )
  status: bool = options_lib.option(False, 'Print every attempt.')
  cancel: bool = options_lib.option(
    False, 'Have the newest attempt save and end.'
  )
  detach: bool = options_lib.option(
    False, 'Do not follow the job that is submitted.'
  )
  num_cpus: float = options_lib.option(
    0.0,
    'CPUs that the learner reserves; 0 has it on the head, without any.',
    minimum=0.0,
  )
  num_gpus: float = options_lib.option(
    0.0, 'GPUs that the learner reserves.', minimum=0.0
  )
  resource: tuple[str, ...] = options_lib.option(
    (),
    'NAME=AMOUNT of a resource that the learner reserves; may be repeated.',
    repeated=True,
  )
  working_dir: str = options_lib.option(
    '',
    'Folder that is sent along and that the job starts in, for experiments '
    'and lists of cells of your own.',
    is_path=True,
  )
  python: str = options_lib.option(
    'python', 'How the machine of the learner calls its Python.'
  )


def run(
  options: Options,
  words: Sequence[str],
  report: Callable[[str], None] = saying.say,
  write: Callable[[str], Any] = saying.write,
) -> None:
  """Does what the options ask for.

  Args:
    options: see `Options`.
    words: the command and its flags, for a job that is to be submitted.
    report: called with each line about what was done.
    write: called with each part of the job's log.

  Raises:
    UserError, NotADirectoryError: in one line; a mistake in the options or the
      words, or the job has failed.
    ClusterUnavailable: the job server cannot be reached.
  """
  options = options_lib.checked(options)
  names.check_file_name('the job', options.job)
  asked = [n for n in ('reconnect', 'status', 'cancel') if getattr(options, n)]
  if len(asked) > 1 or (asked and words):
    given = [f'--{name}' for name in asked] + ['a command'] * bool(words)
    raise errors.UserError(
      f'{" and ".join(given)} are given; expected one of them.'
    )
  if asked:
    server = job_client.JobServer(options.ray_address)
    actions = {'reconnect': _reconnect, 'status': _status, 'cancel': _cancel}
    actions[asked[0]](server, options, report, write)
    return
  resources = _parse_resources(options.resource)
  _check_folder(options.working_dir)
  command = job_command.prepare(words, is_sent=bool(options.working_dir))
  log = command.log_of(f'{options.job}-attempt-999')
  local_paths.check(log, 'the log beside --workdir,')
  server = job_client.JobServer(options.ray_address)
  job = submit(server, options, command, resources)
  report(f'submitted {job}; its log is kept in {command.log_of(job)}')
  if options.detach:
    report(_how_to_reconnect(options))
    return
  _follow(server, server.get(job), options, report, write)


def submit(
  server: job_client.JobServer,
  options: Options,
  command: job_command.JobCommand,
  resources: dict[str, float],
) -> str:
  """Begins the next attempt of a job; returns its id.

  Args:
    server: the cluster's.
    options: see `Options`.
    command: what the job runs.
    resources: of the cluster's own names -> amount that the learner reserves.

  Raises:
    UserError: the attempt before has not ended.
  """
  attempts = server.attempts(options.job)
  if attempts and not attempts[-1].has_ended:
    running = attempts[-1]
    raise errors.UserError(
      f'{running.id} is {running.status.lower()}; --reconnect follows it, '
      '--cancel ends it, another --job runs beside it.'
    )
  last = int(attempts[-1].id.rpartition('-')[2]) if attempts else 0
  job = f'{options.job}-attempt-{last + 1}'
  with tempfile.TemporaryDirectory() as folder:
    shipped = code_shipping.job_env(folder, options.working_dir)
    # Read by Ray's supervisor of the job, which has the job's variables.
    shipped['env_vars'] = {'RAY_JOB_STOP_WAIT_TIME_S': str(STOP_WITHIN_S)}
    server.submit(
      job,
      command.entrypoint(job, options.python),
      runtime_env=shipped,
      metadata={
        _LOG: command.log_of(job),
        _CODE: source_hash.name_code(),
      },
      entrypoint_num_cpus=options.num_cpus or None,
      entrypoint_num_gpus=options.num_gpus or None,
      entrypoint_resources=resources or None,
    )
  return job


def _parse_resources(words: Sequence[str]) -> dict[str, float]:
  found = {}
  for word in words:
    name, _, amount = word.partition('=')
    try:
      found[name] = float(amount)
    except ValueError:
      found[name] = math.nan
    # Written so that NaN is refused.
    if not name.strip() or not 0 < found[name] < math.inf:
      raise errors.UserError(
        f"--resource is '{word}'; expected NAME=AMOUNT with an amount above 0, "
        'such as TPU=4.'
      )
    if name in ('CPU', 'GPU'):
      raise errors.UserError(
        f"--resource is '{word}'; expected --num_{name.lower()}s={amount}, and "
        'here a name of your own.'
      )
  return found


def _check_folder(working_dir: str) -> None:
  """Raises NotADirectoryError unless a folder can be sent along."""
  if working_dir and not os.path.isdir(working_dir):
    is_file = os.path.exists(working_dir)
    raise NotADirectoryError(
      f'--working_dir is {working_dir}, '
      f'{"which is a file" if is_file else "where nothing is"}; expected the '
      'folder that is sent along.'
    )


def _attempts(
  server: job_client.JobServer, options: Options
) -> list[job_client.Job]:
  """Returns all attempts of a job, at least one; the newest is the last."""
  attempts = server.attempts(options.job)
  if not attempts:
    raise errors.UserError(
      f"{server.address} knows no job '{options.job}'; expected the --job that "
      'one was submitted with.'
    )
  return attempts


def _reconnect(
  server: job_client.JobServer,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  _follow(server, _attempts(server, options)[-1], options, report, write)


def _status(
  server: job_client.JobServer,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  del write
  attempts = _attempts(server, options)
  for job in attempts:
    report(f'{job.id}  {job.status}  {job.metadata.get(_LOG, "")}')
  report(attempts[-1].message)


def _cancel(
  server: job_client.JobServer,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  del write
  job = _attempts(server, options)[-1]
  if job.has_ended:
    raise errors.UserError(f'{job.id} has ended already: {job.status.lower()}.')
  server.stop(job.id)
  report(f'asked {job.id} to save and end')
  until = time.monotonic() + STOP_WITHIN_S + 10
  while not job.has_ended and time.monotonic() < until:
    time.sleep(_POLL_S)
    job = server.get(job.id)
  if not job.has_ended:
    raise errors.UserError(
      f'{job.id} is still {job.status.lower()} after {STOP_WITHIN_S + 10} s; '
      '--status tells more.'
    )
  report(f'{job.id} {job.status.lower()}')


def _follow(
  server: job_client.JobServer,
  job: job_client.Job,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  """Writes a job's log until it ends; Ctrl-C leaves it to itself."""
  try:
    job = _tail_to_end(server, job.id, write)
  except KeyboardInterrupt:
    report(f'\ndetached; {job.id} goes on. {_how_to_reconnect(options)}')
    return
  if job.status != 'SUCCEEDED':
    raise errors.UserError(
      f'{job.id} {job.status.lower()}: {job.message[:300]} Its log is kept in '
      f'{job.metadata.get(_LOG)}; the same command is the next attempt, and '
      'goes on from the last checkpoint.'
    )
  report(f'{job.id} succeeded')


def _how_to_reconnect(options: Options) -> str:
  return (
    f'To follow it: mmdist submit --ray_address={options.ray_address} '
    f'--job={options.job} --reconnect'
  )


def _tail_to_end(
  server: job_client.JobServer, id: str, write: Callable[[str], Any]
) -> job_client.Job:
  """Writes a job's log until it ends, also past a head that restarts."""
  writer = _Writer(write)
  # Since when every attempt to reach the head has failed.
  gone_since: float | None = None
  while True:
    try:
      asyncio.run(_tail(server, id, writer))
      job = server.get(id)
    except faults.ClusterUnavailable:
      now = time.monotonic()
      # If some of the log came meanwhile, the head was there, and is gone anew.
      if gone_since is None or writer.heard > gone_since:
        gone_since = now
      elif now - gone_since > _HEAD_GONE_S:
        raise
    else:
      gone_since = None
      if job.has_ended:
        return job
    time.sleep(_POLL_S)


async def _tail(
  server: job_client.JobServer, id: str, writer: '_Writer'
) -> None:
  writer.begin()
  async for text in server.tail(id):
    writer.add(text)


class _Writer:
  """Writes each part of a log once, though every tail begins with its start.

  Attributes:
    heard: when the last part came, in seconds of `time.monotonic`.
  """

  def __init__(self, write: Callable[[str], Any]):
    self.heard = -math.inf
    self._write = write
    self._shown = 0  # Letters that were written.
    self._place = 0  # Letters that came since the log began anew.

  def begin(self) -> None:
    """Is to be called when the log begins anew."""
    self._place = 0

  def add(self, text: str) -> None:
    """Writes what is new in the next part of the log."""
    self.heard = time.monotonic()
    new = text[max(self._shown - self._place, 0) :]
    self._place += len(text)
    self._shown = max(self._shown, self._place)
    if new:
      self._write(new)
