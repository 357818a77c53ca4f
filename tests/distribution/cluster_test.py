import os
import socket
import stat

import pytest
import ray

from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import faults

ROOM = {'all': {'num_cpus': 64, 'num_gpus': 0}}


@pytest.fixture(scope='module')
def cluster():
  started = cluster_lib.Cluster(None, ROOM)
  yield started
  started.close()


def test_the_folder_of_a_local_ray_is_private(cluster):
  mode = os.stat(cluster.directory).st_mode
  assert stat.S_IMODE(mode) == 0o700


def test_a_ray_that_cannot_start_is_one_line(monkeypatch, cluster):
  def refuse(**settings):
    raise ConnectionError('nobody\nthere')

  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', refuse)
  with pytest.raises(faults.ClusterUnavailable) as error:
    cluster_lib.Cluster(None, ROOM)
  assert str(error.value) == (
    'Ray could not start: ConnectionError: nobody there; --executor=inline '
    'works without it.'
  )
  with pytest.raises(faults.ClusterUnavailable, match="reached at 'auto'"):
    cluster_lib.Cluster('auto', ROOM)


@pytest.mark.parametrize('scheme', ['', 'ray://'])
def test_an_address_where_nobody_listens_is_one_line(
  monkeypatch, cluster, scheme
):
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))  # And does not listen.
    address = f'{scheme}127.0.0.1:{taken.getsockname()[1]}'
    with pytest.raises(faults.ClusterUnavailable, match='nobody answers at'):
      cluster_lib.Cluster(address, ROOM)


def test_an_address_where_somebody_listens_is_left_to_ray(monkeypatch, cluster):
  asked = {}
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', lambda **settings: asked.update(settings))
  with socket.create_server(('127.0.0.1', 0)) as server:
    address = f'127.0.0.1:{server.getsockname()[1]}'
    monkeypatch.setattr(cluster_lib, '_check_room', lambda options: None)
    started = cluster_lib.Cluster(address, {})
  started.close()
  assert asked['address'] == address
