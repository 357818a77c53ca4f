"""The jobs of a cluster, as its head tells of them over HTTP.

If the head cannot be reached, the error is one line and comes within seconds:
Ray itself would wait for ever for a server that is silent.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
import contextlib
import dataclasses
import http.client
import importlib.util
import json
import logging
import os
import re
import socket
from typing import Any
import urllib.error
import urllib.parse
import urllib.request

from mmdist.core import errors
from mmdist.distribution import faults
from mmdist.distribution import tokens

ANSWER_WITHIN_S = 10.0
_MOST_BYTES = 65536  # Of the reply about the version, which has some hundred.
# What installs Ray's dashboard here.
_EXTRA = "pip install 'mmdist[cluster]', or 'ray[default]' of the same version"
_TALKATIVE = (
  'ray.dashboard.modules.dashboard_sdk',
  'ray.dashboard.modules.job.sdk',
  'ray._private.runtime_env.packaging',
)
_ENDED = ('SUCCEEDED', 'FAILED', 'STOPPED')
# What Ray's client raises at a server that refuses, and at a reply that is not
# what it expects.
_CLIENT_ERRORS = (RuntimeError, OSError, LookupError, TypeError, ValueError)


@dataclasses.dataclass(frozen=True)
class Job:
  """A job, as it is now.

  Attributes:
    id: NAME-attempt-N.
    status: one of Ray's: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED.
    message: Ray's words about it, in one line.
    metadata: what it was submitted with.
  """

  id: str
  status: str
  message: str
  metadata: Mapping[str, str]

  @property
  def has_ended(self) -> bool:
    """Whether it will not run any more."""
    return self.status in _ENDED


class JobServer:
  """The job server of one cluster.

  Attributes:
    address: its URL.
  """

  def __init__(self, address: str):
    """Connects, within `ANSWER_WITHIN_S` or not at all.

    Args:
      address: 'http://HEAD:8265', which the head serves its dashboard at.

    Raises:
      UserError: the address cannot be one, Ray's dashboard is not installed
        here, or the token is missing, wrong or none.
      ClusterUnavailable: nobody answers there, or not a Ray of this version.
    """
    self.address = check_address(address)
    _check_installed()
    token = tokens.find()
    headers = {'Authorization': f'Bearer {token}'} if token else {}
    _check_version(self.address, _ask_version(self.address, headers))
    self._client = _connect(self.address, headers)

  def attempts(self, name: str) -> list[Job]:
    """Returns the jobs NAME-attempt-N, in the order of N."""
    found = {}
    for details in self._call('list_jobs'):
      match = re.fullmatch(
        rf'{re.escape(name)}-attempt-(\d+)', details.submission_id or ''
      )
      if match:
        found[int(match[1])] = _job(details)
    return [found[number] for number in sorted(found)]

  def get(self, id: str) -> Job:
    """Returns a job as it is now; ClusterUnavailable if that cannot be told."""
    return _job(self._call('get_job_info', id))

  def submit(self, id: str, entrypoint: str, **options: Any) -> None:
    """Begins a job; `options` are those of Ray's `submit_job`."""
    self._call('submit_job', entrypoint=entrypoint, submission_id=id, **options)

  def stop(self, id: str) -> None:
    """Asks a job to save and end."""
    self._call('stop_job', id)

  async def tail(self, id: str) -> AsyncIterator[str]:
    """Yields the log of a job from its beginning, as it comes."""
    import aiohttp

    try:
      async for text in self._client.tail_job_logs(id):
        yield text
    except (RuntimeError, OSError, aiohttp.ClientError) as error:
      raise faults.ClusterUnavailable(
        f'the log of {id} broke off: {_describe(error)}'
      ) from error

  def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
    try:
      return getattr(self._client, method)(*arguments, **options)
    except _CLIENT_ERRORS as error:
      raise faults.ClusterUnavailable(
        f'the job server at {self.address} did not carry out {method}: '
        f'{_describe(error)}'
      ) from error


def check_address(address: str) -> str:
  """Returns the URL of a job server; UserError if it can be none."""
  url = address if '://' in address else f'http://{address}'
  try:
    parts = urllib.parse.urlsplit(url)
    is_server = parts.scheme in ('http', 'https') and parts.port is not None
  except ValueError:
    is_server = False
  if not is_server or not parts.hostname or re.search(r'[\s@]', address):
    raise errors.UserError(
      f"--ray_address is '{address}'; jobs are submitted to the head's "
      'dashboard: expected http://HEAD:8265.'
    )
  return url.rstrip('/')


def _check_installed() -> None:
  missing = [
    name
    for name in ('ray', 'aiohttp', 'requests')
    if importlib.util.find_spec(name) is None
  ]
  if missing:
    raise errors.UserError(
      f"jobs need Ray's dashboard, which is not installed here (no module "
      f"'{missing[0]}'); {_EXTRA}."
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
  """Follows nobody to another server, which would be shown the token."""

  def redirect_request(self, *given: Any) -> None:
    del given  # Then a redirection is an HTTPError.


def _ask_version(address: str, headers: Mapping[str, str]) -> bytes:
  """Returns what a server says of its version.

  Raises:
    UserError, ClusterUnavailable: see `JobServer`.
  """
  request = urllib.request.Request(f'{address}/api/version', headers=headers)  # noqa: S310 - http or https, checked.
  opener = urllib.request.build_opener(_NoRedirect)
  try:
    with opener.open(request, timeout=ANSWER_WITHIN_S) as reply:
      return reply.read(_MOST_BYTES)
  except urllib.error.HTTPError as error:
    error.close()
    if error.code not in (401, 403):
      raise _no_job_server(
        address, f'{error.code} {faults.one_line(error.reason)}'
      ) from error
    asks = 'another token than yours' if headers else 'a token'
    has = '' if headers else ' and you have none'
    raise errors.UserError(
      f'{address} asks for {asks}{has}; {tokens.REMEDY}.'
    ) from error
  except http.client.HTTPException as error:
    # What it said is not shown, since a server may answer with anything.
    raise _no_job_server(address, 'it speaks no HTTP') from error
  except (OSError, UnicodeError) as error:
    cause = getattr(error, 'reason', error)
    if isinstance(cause, TimeoutError | socket.timeout):
      cause = f'silent for {ANSWER_WITHIN_S:g} s'
    raise faults.ClusterUnavailable(
      f'nobody answers at {address} ({faults.one_line(str(cause))}); expected '
      "the head's dashboard, http://HEAD:8265, which ray start --head serves "
      'to others with --dashboard-host=0.0.0.0 where ray[default] is installed.'
    ) from error


def _no_job_server(address: str, why: str) -> faults.ClusterUnavailable:
  return faults.ClusterUnavailable(
    f"what answers at {address} is no job server of Ray's ({why}); expected "
    "the head's dashboard, http://HEAD:8265."
  )


def _check_version(address: str, reply: bytes) -> None:
  """Raises ClusterUnavailable unless it is of this process's Ray.

  The job runs in the Python of the cluster, whose version is not told here.
  """
  import ray

  try:
    theirs = json.loads(reply)['ray_version']
  except (ValueError, LookupError, TypeError) as error:
    raise _no_job_server(address, 'it tells no version of Ray') from error
  if theirs != ray.__version__:
    raise faults.ClusterUnavailable(
      f'the cluster at {address} has Ray {faults.one_line(str(theirs))[:40]} '
      f'and this process has Ray {ray.__version__}; expected the same: install '
      "the cluster's version here, or submit from a machine that has it."
    )


def _describe(error: BaseException) -> str:
  """Returns an error in one line; a server may have sent the token back."""
  return tokens.hide(faults.describe(error))[:300]


def _connect(address: str, headers: Mapping[str, str]) -> Any:
  from ray import job_submission

  # These tell of each package that is sent, and of each log that ends.
  for name in _TALKATIVE:
    logging.getLogger(name).setLevel(logging.ERROR)
  with _preferred(address):
    try:
      return job_submission.JobSubmissionClient(address, headers=dict(headers))
    except _CLIENT_ERRORS as error:
      raise faults.ClusterUnavailable(
        f'{address} cannot be used: {_describe(error)}'
      ) from error


@contextlib.contextmanager
def _preferred(address: str) -> Iterator[None]:
  """Makes Ray use this address, whatever its environment variables say."""
  before = os.environ.get('RAY_API_SERVER_ADDRESS')
  os.environ['RAY_API_SERVER_ADDRESS'] = address
  try:
    yield
  finally:
    if before is None:
      os.environ.pop('RAY_API_SERVER_ADDRESS')
    else:
      os.environ['RAY_API_SERVER_ADDRESS'] = before


def _job(details: Any) -> Job:
  return Job(
    details.submission_id,
    str(details.status),
    faults.one_line(details.message or ''),
    details.metadata or {},
  )
