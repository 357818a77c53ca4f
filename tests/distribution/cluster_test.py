import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

import pytest
import ray

from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import cluster_head
from mmdist.distribution import faults

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ROOM = {'all': {'num_cpus': 64, 'num_gpus': 0}}


@pytest.fixture
def short_path():
  """A folder whose name is short enough for Ray's sockets; pytest's is not."""
  folder = pathlib.Path(tempfile.mkdtemp(dir='/tmp'))
  yield folder
  shutil.rmtree(folder)


@pytest.fixture(scope='module')
def cluster():
  started = cluster_lib.Cluster(None, ROOM)
  yield started
  started.close()


@pytest.fixture(autouse=True)
def _may_join(monkeypatch):
  """As in a process that has started no Ray; nobody really joins one here."""
  monkeypatch.setattr(cluster_lib.tokens, '_started_with', [])


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
  with pytest.raises(faults.ClusterUnavailable, match=r"ray\[default\]'; --ex"):
    cluster_lib.Cluster(None, ROOM, dashboard=True)
  with pytest.raises(faults.ClusterUnavailable, match="reached at 'auto'"):
    cluster_lib.Cluster('auto', ROOM)


def test_a_head_is_asked_before_ray_is(monkeypatch, cluster):
  asked = []
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(cluster_head, 'check', asked.append)
  monkeypatch.setattr(ray, 'init', lambda **given: asked.append(given))
  monkeypatch.setattr(cluster_lib.placement, 'check_room', lambda *_: None)
  cluster_lib.Cluster('127.0.0.1:1', {}).close()
  assert asked[0] == asked[1]['address'] == '127.0.0.1:1'


@pytest.mark.parametrize('ships', [False, True])
def test_a_cluster_is_sent_the_code_unless_it_is_not_to_be(
  monkeypatch, cluster, ships
):
  settings = {}
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', lambda **given: settings.update(given))
  monkeypatch.setattr(cluster_lib.placement, 'check_room', lambda *_: None)
  cluster_lib.Cluster('auto', {}, ship_code=ships).close()
  assert ('runtime_env' in settings) is ships
  settings.clear()
  cluster_lib.Cluster(None, ROOM, ship_code=ships).close()
  assert 'runtime_env' not in settings  # This machine has it.


@pytest.mark.parametrize('asked', [False, True])
def test_a_dashboard_is_off_unless_asked_and_then_this_machines(
  monkeypatch, cluster, asked
):
  settings = {}
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', lambda **given: settings.update(given))
  monkeypatch.setattr(cluster_lib.placement, 'check_room', lambda *_: None)
  more = {'dashboard': True} if asked else {}
  cluster_lib.Cluster(None, ROOM, **more).close()
  assert settings['include_dashboard'] is asked
  assert settings['dashboard_host'] == '127.0.0.1'


def test_a_start_that_is_interrupted_leaves_no_folder(
  monkeypatch, cluster, short_path
):
  def interrupt(**settings):
    assert list(short_path.iterdir())
    raise KeyboardInterrupt

  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', interrupt)
  monkeypatch.setattr(cluster_lib.tempfile, 'tempdir', str(short_path))
  with pytest.raises(KeyboardInterrupt):
    cluster_lib.Cluster(None, ROOM)
  assert not list(short_path.iterdir())


def test_a_ray_of_ones_own_is_started_whatever_the_environment_says(
  monkeypatch, cluster
):
  settings = {}
  monkeypatch.setenv('RAY_ADDRESS', '127.0.0.1:6399')
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', lambda **given: settings.update(given))
  monkeypatch.setattr(cluster_lib.placement, 'check_room', lambda *_: None)
  cluster_lib.Cluster(None, ROOM).close()
  assert settings['address'] == 'local'


def test_a_folder_with_a_long_name_is_not_rays(monkeypatch, tmp_path):
  long = tmp_path / ('j' * 30)
  long.mkdir()
  monkeypatch.setattr(cluster_lib.tempfile, 'tempdir', str(long))
  folder = cluster_lib._private_folder()
  os_limit, below = 107, '/ray/session_2026-11-26_16-53-53_123456_1234567'
  assert len(f'{folder}{below}/sockets/plasma_store') <= os_limit
  assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
  shutil.rmtree(folder)
  monkeypatch.setattr(cluster_lib, '_SHORT_FOLDERS', ('/not/there',))
  with pytest.raises(faults.ClusterUnavailable, match='set TMPDIR to another'):
    cluster_lib._private_folder()


# In processes of their own: Ray reads a token once, whatever HOME becomes.
RAYS = """
import json, os, stat, subprocess, sys
import ray
from mmdist.distribution import cluster
from mmdist.distribution import tokens

@ray.remote(num_cpus=1)
class Reader:
  def read(self):
    path = os.environ.get(tokens.TOKEN_PATH)
    return os.environ[tokens.MODE], path and stat.S_IMODE(os.stat(path).st_mode)

def knock(address, token):
  variables = {tokens.MODE: 'disabled'}
  if token:
    variables = {tokens.TOKEN: token, tokens.MODE: 'token'}
  return subprocess.Popen(
    [sys.executable, '-c', KNOCK, address],
    env=os.environ | variables,
    stdout=subprocess.PIPE,
    text=True,
  )

KNOCK = '''
import sys
from mmdist.distribution import cluster_head, faults
try:
  cluster_head.check(sys.argv[1])
  print('let in')
except faults.ClusterUnavailable as error:
  print(error)
'''

found = []
before = dict(os.environ)
for number in range(int(sys.argv[1])):
  ours = cluster.Cluster(None, {})
  changed = {k for k in before.keys() | os.environ.keys()
             if before.get(k) != os.environ.get(k)}
  read = ray.get(Reader.remote().read.remote())
  answers = []
  if number == 0:
    address = ray.get_runtime_context().gcs_address
    guesses = None, 'ab' * 32, ''.join(tokens._made)
    at_the_door = [knock(address, guess) for guess in guesses]
    answers = [one.communicate()[0].strip() for one in at_the_door]
  secret = b'not-for-anybody' in b''.join(
    open(os.path.join(folder, name), 'rb').read()
    for folder, _, names in os.walk(ours.directory)
    for name in names
    if os.path.isfile(os.path.join(folder, name))
  )
  folder = ours.directory
  ours.close()
  found.append([sorted(changed), read, answers, secret, os.path.exists(folder)])
print(json.dumps(found))
"""


def start_rays(home: pathlib.Path, count: int) -> subprocess.Popen:
  variables = {k: v for k, v in os.environ.items() if 'RAY_' not in k}
  variables |= {'HOME': str(home), 'PYTHONPATH': str(ROOT)}
  variables['HF_TOKEN'] = 'not-for-anybody'
  return subprocess.Popen(
    [sys.executable, '-c', RAYS, str(count)],
    env=variables,
    stdout=subprocess.PIPE,
    text=True,
  )


def read_rays(process: subprocess.Popen) -> list:
  out, _ = process.communicate(timeout=120)
  assert process.returncode == 0
  return json.loads(out.splitlines()[-1])


@pytest.mark.slow
def test_a_ray_started_here_asks_for_a_token_that_is_ours_or_theirs(tmp_path):
  without, having = tmp_path / 'without', tmp_path / 'having'
  without.mkdir()
  theirs = having / '.ray' / 'auth_token'
  theirs.parent.mkdir(parents=True)
  theirs.write_text('ab' * 32)
  # Side by side, since each mostly waits for Ray.
  rays = start_rays(without, count=2), start_rays(having, count=1)
  first, second = read_rays(rays[0])
  changed, read, answers, secret, left = first
  # Without a token, with another one, with ours.
  assert 'asks for a token, and RAY_AUTH_MODE is' in answers[0]
  assert 'asks for another token than yours' in answers[1]
  assert answers[2] == 'let in'
  assert read == second[1] == ['token', 0o600]
  assert set(changed) <= {
    'PYTHONBREAKPOINT',  # Ray's own debugger.
    'RAY_CLIENT_MODE',
    'RAY_IGNORE_UNHANDLED_ERRORS',
    'RAY_USAGE_STATS_ENABLED',
  }
  assert not secret and not left and not second[-1]
  assert not list(without.iterdir())  # Nothing of ours stays at home.

  ((_, read, answers, _, _),) = read_rays(rays[1])
  assert read == ['token', None]  # No file of ours.
  assert [line == 'let in' for line in answers] == [False, True, False]
  assert theirs.read_text() == 'ab' * 32
  assert stat.S_IMODE(os.stat(theirs).st_mode) == 0o600


def test_folders_of_killed_processes_are_swept_up(monkeypatch, tmp_path):
  monkeypatch.setattr(cluster_lib.tempfile, 'gettempdir', lambda: str(tmp_path))
  gone = subprocess.Popen(['true'])
  gone.wait()
  owners = {
    'mmdist-dead': cluster_lib._owner(gone.pid),
    'mmdist-alive': cluster_lib._owner(os.getpid()),
    'mmdist-elsewhere': f'another-machine {gone.pid}',
    'mmdist-begun': '',  # About to be written by a run that starts beside.
    'someone-else': cluster_lib._owner(gone.pid),
  }
  for name, owner in owners.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / 'owner').write_text(owner)
  (tmp_path / 'mmdist-unknown').mkdir()
  cluster_lib._sweep_up()
  left = {path.name for path in tmp_path.iterdir()}
  assert left == {*owners, 'mmdist-unknown'} - {'mmdist-dead'}
