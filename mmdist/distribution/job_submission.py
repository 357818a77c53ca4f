"""`mmdist submit`: a command that runs on a cluster, begun and followed here.

Whoever follows a job may leave and come back: the job does not notice. A name
stands for its newest attempt, since Ray takes no id twice.
"""

import asyncio
from collections.abc import Callable, Sequence
import dataclasses
import sys
import tempfile
import time
from typing import Any

from mmdist.core import errors
from mmdist.core import names
from mmdist.core import options as options_lib
from mmdist.core import source_hash
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import job_client
from mmdist.distribution import job_command

# How long a job may take to save before Ray kills it; Ray's own 3 s are short.
STOP_WITHIN_S = 90
_POLL_S = 1.0
_HEAD_GONE_S = 60.0  # A head that restarts answers again before that.
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
  report: Callable[[str], None] = print,
  write: Callable[[str], Any] = sys.stdout.write,
) -> None:
  """Does what the options ask for.

  Args:
    options: see `Options`.
    words: the command and its flags, for a job that is to be submitted.
    report: is told what was done, by lines.
    write: is given the job's log.

  Raises:
    UserError: in one line; also that the job has failed.
  """
  options_lib.check(options)
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
  command = job_command.prepare(words, is_sent=bool(options.working_dir))
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
  """Begins the next attempt of a job; returns its id."""
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
    except ValueError as error:
      raise errors.UserError(
        f"--resource is '{word}'; expected NAME=AMOUNT, such as TPU=4."
      ) from error
  return found


def _newest(server: job_client.JobServer, options: Options) -> job_client.Job:
  attempts = server.attempts(options.job)
  if not attempts:
    raise errors.UserError(
      f"{server.address} knows no job '{options.job}'; expected the --job that "
      'one was submitted with.'
    )
  return attempts[-1]


def _reconnect(
  server: job_client.JobServer,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  _follow(server, _newest(server, options), options, report, write)


def _status(
  server: job_client.JobServer,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  del write
  _newest(server, options)
  for job in server.attempts(options.job):
    report(f'{job.id}  {job.status}  {job.metadata.get(_LOG, "")}')
  report(job.message)


def _cancel(
  server: job_client.JobServer,
  options: Options,
  report: Callable[[str], None],
  write: Callable[[str], Any],
) -> None:
  del write
  job = _newest(server, options)
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
  writer, heard = _Writer(write), time.monotonic()
  while True:
    try:
      asyncio.run(_tail(server, id, writer))
      job = server.get(id)
    except faults.ClusterUnavailable:
      if time.monotonic() - heard > _HEAD_GONE_S:
        raise
    else:
      heard = time.monotonic()
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
  """Writes a log once, though it begins anew each time that it is asked for."""

  def __init__(self, write: Callable[[str], Any]):
    self._write = write
    self._shown = 0
    self._place = 0

  def begin(self) -> None:
    """Is told that the log begins anew."""
    self._place = 0

  def add(self, text: str) -> None:
    """Writes of the next part of the log what is new."""
    new = text[max(self._shown - self._place, 0) :]
    self._place += len(text)
    self._shown = max(self._shown, self._place)
    if new:
      self._write(new)
