"""The Ray that the priors run in: joined, or started here for one run.

Owns everything of Ray that is not an actor: its folder, its settings, and the
errors for a Ray that cannot be started or reached. SECURITY.md says what its
defaults protect from, and what they do not.
"""

from collections.abc import Collection, Mapping, Sequence
import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import socket
import tempfile
from typing import Any
import warnings

import ray

from mmdist.distribution import actor_environment
from mmdist.distribution import cluster_head
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import placement
from mmdist.distribution import tokens

_PREFIX = 'mmdist-'
# The system's limit for the path of a socket is 107 letters. Ray's sockets take
# 66 of them, so 41 are left for Ray's folder.
_MOST_LETTERS = 41
# Where the folder is put if that of temporary files has a longer name, as it
# has under Slurm and on every Mac.
_SHORT_FOLDERS = ('/tmp', '/var/tmp', '/dev/shm')
_OWNER = 'owner'  # File of a private folder: whose it is.


class Cluster:
  """Ray, joined or started here; `close` stops only what it started.

  Attributes:
    directory: the private folder of a Ray started here; else None.
  """

  def __init__(
    self,
    address: str | None,
    options: Mapping[Any, dict],
    dashboard: bool = False,
    ship_code: bool = True,
    gpus: Sequence[str] = (),
    cells: Collection[Any] = (),
  ):
    """Joins Ray or starts it; uses the one that this process has joined.

    Args:
      address: of a running cluster; None starts one on this machine.
      options: actor -> Ray's options; what they reserve has to exist.
      dashboard: whether a Ray started here serves its dashboard, to browsers
        of this machine only; it asks them for the token.
      ship_code: whether the workers of a cluster get the mmdist of this
        process; they then need not have one. See `code_shipping`.
      gpus: names of the GPUs that a Ray started here gives out; none leaves all
        of them to it.
      cells: those of `options` that are of a sweep's cells, not of priors.

    Raises:
      ClusterUnavailable: Ray cannot be had, or has no room for an actor.
    """
    self._started = not ray.is_initialized()
    self.directory: str | None = None
    if self._started and not address:
      # This folder is private. Ray's own lies inside it, since Ray lets
      # everybody read that one.
      _sweep_up()
      self.directory = _private_folder()
    try:
      if self._started:
        with tempfile.TemporaryDirectory() as folder:
          shipped: dict[str, Any] = {}
          if ship_code and address:
            shipped['runtime_env'] = code_shipping.driver_env(folder)
          local = _Local(self.directory or '', options, dashboard, gpus)
          _start(address or '', local, shipped)
      placement.check_room(options, cells)
      self._watch = cluster_head.Watch(ray.get_runtime_context().gcs_address)
    except BaseException:  # After any error the private folder is removed.
      self.close()
      raise

  def check_alive(self) -> None:
    """Raises ClusterLost if the head is gone; to be called while waiting."""
    self._watch.check()

  def is_lost(self) -> bool:
    """Returns whether nobody answers at the head now."""
    return self._watch.is_lost()

  def close(self) -> None:
    """Stops Ray if it was started here; closing twice is harmless."""
    if self._started and ray.is_initialized():
      ray.shutdown()
    if self._started:
      actor_environment.forget()
    if self.directory is not None:
      shutil.rmtree(self.directory, ignore_errors=True)
      self.directory = None


def _candidates() -> list[str]:
  return list(dict.fromkeys([tempfile.gettempdir(), *_SHORT_FOLDERS]))


def _parents() -> list[str]:
  """Returns the folders that may hold a private one, the first choice first."""
  name = '/mmdist-12345678/ray'
  return [
    folder
    for folder in _candidates()
    if len(folder) + len(name) <= _MOST_LETTERS
    and os.access(folder, os.W_OK | os.X_OK)
  ]


def _private_folder() -> str:
  parents = _parents()
  if not parents:
    raise faults.ClusterUnavailable(
      f'Ray needs a folder of temporary files with a short name; '
      f'{tempfile.gettempdir()} has too many letters and none of '
      f'{", ".join(_SHORT_FOLDERS)} can be written; set TMPDIR to another, or '
      'give --executor=inline.'
    )
  directory = tempfile.mkdtemp(prefix=_PREFIX, dir=parents[0])
  pathlib.Path(directory, _OWNER).write_text(_owner(os.getpid()), 'utf-8')
  return directory


def _owner(pid: int) -> str:
  return f'{socket.gethostname()} {pid}'


def _sweep_up() -> None:
  """Removes folders of processes that were killed before they could do it."""
  folders = [
    folder
    for parent in _candidates()
    for folder in pathlib.Path(parent).glob(_PREFIX + '*')
  ]
  for folder in folders:
    with contextlib.suppress(OSError, ValueError):
      owner = (folder / _OWNER).read_text('utf-8')
      # Empty where its process is about to write it.
      pid = int(owner.rpartition(' ')[-1])
      # Machines may share this folder, and only this one knows its processes.
      if owner != _owner(pid) or folder.stat().st_uid != os.getuid():
        continue
      try:
        os.kill(pid, 0)
      except ProcessLookupError:
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class _Local:
  """What a Ray that is started here is made of; see `Cluster`."""

  directory: str
  options: Mapping[Any, dict]
  dashboard: bool
  gpus: Sequence[str]


def _start(address: str, local: _Local, shipped: Mapping[str, Any]) -> None:
  """Joins Ray at an address; without one, starts it in a directory."""
  settings: dict[str, Any]
  environment = contextlib.ExitStack()
  if address:
    cluster_head.check(address)
    # Ray itself finds the token, which `check` has it show where that cluster
    # asks for one.
    settings = {'address': address, **shipped}
  else:
    # Without 'local', the variable RAY_ADDRESS would decide.
    settings = {'address': 'local'}
    settings |= _local_settings(local)
    environment.enter_context(tokens.provided(local.directory))
    environment.enter_context(
      actor_environment.inherited_by_ray(local.options, local.gpus)
    )
  # No usage statistics are sent, for privacy and because there may be no
  # network.
  os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
  # Else Ray would log the errors of calls that nobody waits for any more, after
  # a prior was brought back.
  os.environ.setdefault('RAY_IGNORE_UNHANDLED_ERRORS', '1')
  try:
    with environment, warnings.catch_warnings():
      # JAX warns of forks. Ray's are harmless: they start other programs only.
      warnings.filterwarnings('ignore', r'os\.fork\(\) was called')
      ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
  except Exception as error:
    where = f"be reached at '{address}'" if address else 'start'
    why = tokens.hide(faults.describe(error))
    remedy = '--executor=inline works without it.'
    if settings.get('include_dashboard'):
      remedy = f"its dashboard needs pip install 'ray[default]'; {remedy}"
    raise faults.ClusterUnavailable(
      f'Ray could not {where}: {why[:300]}; {remedy}'
    ) from error


def _local_settings(local: _Local) -> dict[str, Any]:
  return {
    **({'num_gpus': len(local.gpus)} if local.gpus else {}),
    'include_dashboard': local.dashboard,
    'dashboard_host': '127.0.0.1',
    # Ray is told of as many CPUs as the actors reserve, even if the machine has
    # fewer: else they would wait for room for ever.
    'num_cpus': max(
      os.cpu_count() or 1, sum(o['num_cpus'] for o in local.options.values())
    ),
    '_temp_dir': f'{local.directory}/ray',
    # Else one process per CPU is started in advance, and 64 CPUs may be said
    # above: most of them would only take the cores while the run begins.
    '_system_config': {'prestart_worker_first_driver': False},
  }
