"""The Ray that the priors run in: joined, or started here for one run.

Owns everything of Ray that is not an actor: its folder, its settings, whether
it has room, and what is said when it cannot be had.
"""

from collections.abc import Mapping
import os
import shutil
import socket
import tempfile
import warnings

import ray

from mmdist.distribution import faults

CONNECT_WITHIN_S = 10.0


class Cluster:
  """Ray, joined or started here; stops on close only what it started."""

  def __init__(self, address: str | None, options: Mapping[str, dict]):
    self._started = not ray.is_initialized()
    self.directory = None
    if self._started and address is None:
      # Private, and Ray one level down: it opens its own folder to everyone.
      self.directory = tempfile.mkdtemp(prefix='mmdist-')
    try:
      if self._started:
        _start(address, self.directory and f'{self.directory}/ray', options)
      _check_room(options)
    except faults.ClusterUnavailable:
      self.close()
      raise

  def close(self) -> None:
    if self._started and ray.is_initialized():
      ray.shutdown()
    if self.directory is not None:
      shutil.rmtree(self.directory, ignore_errors=True)
      self.directory = None


def _start(address, directory, options) -> None:
  settings = (
    {'address': address}
    if address
    else {
      'include_dashboard': False,
      # On one machine threads may outnumber cores; waiting for room would hang.
      'num_cpus': max(
        os.cpu_count() or 1, sum(o['num_cpus'] for o in options.values())
      ),
      '_temp_dir': directory,
    }
  )
  if address:
    _check_listening(address)
  # Nothing of a run is anybody else's business, and there may be no network.
  os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
  try:
    with warnings.catch_warnings():
      # JAX warns of Ray's forks, which do nothing but start other programs.
      warnings.filterwarnings('ignore', r'os\.fork\(\) was called')
      ray.init(log_to_driver=False, logging_level='ERROR', **settings)
  except Exception as error:
    where = f"be reached at '{address}'" if address else 'start'
    raise faults.ClusterUnavailable(
      f'Ray could not {where}: {faults.describe(error)[:300]}; '
      '--executor=inline works without it.'
    ) from error


def _check_listening(address: str) -> None:
  """Raises ClusterUnavailable if nobody listens at 'HOST:PORT'.

  Ray itself would knock for minutes. 'auto' and the like have no port.
  """
  host, _, port = address.removeprefix('ray://').rpartition(':')
  if not port.isdecimal():
    return
  try:
    socket.create_connection((host, int(port)), CONNECT_WITHIN_S).close()
  except (OSError, OverflowError) as error:
    raise faults.ClusterUnavailable(
      f"nobody answers at '{address}' ({faults.describe(error)}); expected the "
      'HOST:PORT that `ray start --head` prints; --executor=inline works '
      'without it.'
    ) from error


def _check_room(options) -> None:
  """Raises ClusterUnavailable for priors that would wait for ever."""
  for resource, option in (('GPU', 'num_gpus'), ('CPU', 'num_cpus')):
    wanted = sum(o[option] for o in options.values())
    total = ray.cluster_resources().get(resource, 0.0)
    if wanted > total:
      raise faults.ClusterUnavailable(
        f'the priors reserve {wanted:g} {resource}s and Ray has {total:g}; '
        f'lower their {option} or add machines.'
      )
