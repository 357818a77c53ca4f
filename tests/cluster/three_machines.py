"""Three machines in one: network namespaces, joined by a bridge, with Ray.

  python -m tests.cluster.three_machines

starts them, says how to use them, and takes them away at Ctrl-C. The head has
no CPUs; two workers have different resources. No worker sees the mmdist of
this checkout, nor the folders of Ray of another machine: folders are mounted
over them, in the worker alone. Everything else of the disk is shared, as on a
cluster with a shared file system.

Whatever a process that was killed has left is taken away by the next one.
"""

import contextlib
import dataclasses
import os
import pathlib
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PREFIX = 'mmd'  # A name of an interface has 15 characters at most.
FOLDER = pathlib.Path('/tmp')
READY_WITHIN_S = 180.0
_WORKERS = {'a': {'small': 4, 'both': 1}, 'b': {'large': 4, 'both': 1}}
_NUM_CPUS = {'a': 2, 'b': 3}


def why_not() -> str:
  """Returns why namespaces cannot be had here; '' if they can."""
  if not shutil.which('ip'):
    return "there is no 'ip' command"
  if os.geteuid():
    return 'network namespaces need root'
  probe = f'{PREFIX}{os.getpid()}x'
  done = subprocess.run(['ip', 'netns', 'add', probe], capture_output=True)
  if done.returncode:
    return f'no namespace may be made: {done.stderr.decode().strip()}'
  subprocess.run(['ip', 'netns', 'delete', probe], check=True)
  return ''


@dataclasses.dataclass(frozen=True)
class Machines:
  """Three machines that run.

  Attributes:
    folder: of their logs, and of the token.
    subnet: the first three numbers of their addresses.
    python: of their Ray.
  """

  folder: pathlib.Path
  subnet: str
  python: str

  @property
  def ray_address(self) -> str:
    return f'{self.subnet}.1:6379'

  @property
  def job_server(self) -> str:
    return f'http://{self.subnet}.1:8265'

  @property
  def token_path(self) -> pathlib.Path:
    return self.folder / 'token'

  def variables(self) -> dict[str, str]:
    """Returns the environment of a person who may use the cluster."""
    cleared = {k: v for k, v in os.environ.items() if 'RAY_' not in k}
    return cleared | {
      'PYTHONPATH': str(ROOT),
      'RAY_AUTH_MODE': 'token',
      'RAY_AUTH_TOKEN_PATH': str(self.token_path),
      'OMP_NUM_THREADS': '1',
    }

  def on_head(self, *words: str) -> list[str]:
    """Returns the words that run a command on the head."""
    return ['ip', 'netns', 'exec', _name('head'), *words]


def _name(machine: str, pid: int | None = None) -> str:
  return f'{PREFIX}{pid or os.getpid()}-{machine}'


_ETC = pathlib.Path('/etc/netns')  # Where `ip netns` finds files of its own.


def _call(*words: str) -> None:
  subprocess.run(words, check=True, capture_output=True)


@contextlib.contextmanager
def three_machines(hidden=(), overlaid=None, python: str = sys.executable):
  """Starts the machines; takes all of them away, whatever happens.

  Args:
    hidden: folders that no worker sees.
    overlaid: worker -> folder that it sees in place of the first hidden one.
    python: that Ray runs in.
  """
  sweep_up()
  # Short: paths of sockets have 107 characters at most.
  prefix = f'{PREFIX}{os.getpid()}-'
  folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=FOLDER))
  machines = Machines(folder, f'10.77.{os.getpid() % 250}', python)
  descriptor = os.open(machines.token_path, os.O_WRONLY | os.O_CREAT, 0o600)
  os.write(descriptor, secrets.token_hex(32).encode())
  os.close(descriptor)
  (folder / 'ray').mkdir()
  try:
    _connect(machines.subnet)
    started = [_start_head(machines)]
    _wait_for(machines, 1, started)
    started += [
      _start_worker(machines, name, hidden, (overlaid or {}).get(name))
      for name in _WORKERS
    ]
    _wait_for(machines, 1 + len(_WORKERS), started)
    yield machines
  finally:
    take_away(os.getpid())


def _connect(subnet: str) -> None:
  bridge = _name('br')
  # All have the name of this machine; on each it stands for its own address.
  for number, machine in enumerate(('head', *_WORKERS), start=1):
    folder = _ETC / _name(machine)
    folder.mkdir(parents=True)
    address = f'{subnet}.{number} {socket.gethostname()}\n'
    (folder / 'hosts').write_text(f'127.0.0.1 localhost\n{address}')
  _call('ip', 'link', 'add', bridge, 'type', 'bridge')
  _call('ip', 'address', 'add', f'{subnet}.254/24', 'dev', bridge)
  _call('ip', 'link', 'set', bridge, 'up')
  for number, machine in enumerate(('head', *_WORKERS), start=1):
    name, cable = _name(machine), _name(f'{machine[0]}v')
    _call('ip', 'netns', 'add', name)
    _call(
      *('ip', 'link', 'add', cable, 'type', 'veth'),
      *('peer', 'name', 'eth0', 'netns', name),
    )
    _call('ip', 'link', 'set', cable, 'master', bridge, 'up')
    inside = ('ip', '-n', name)
    _call(*inside, 'address', 'add', f'{subnet}.{number}/24', 'dev', 'eth0')
    _call(*inside, 'link', 'set', 'eth0', 'up')
    _call(*inside, 'link', 'set', 'lo', 'up')
    _call(*inside, 'route', 'add', 'default', 'via', f'{subnet}.254')


def _start_head(machines: Machines) -> subprocess.Popen:
  words = [
    *('--head', '--port=6379', '--num-cpus=0', '--num-gpus=0'),
    *('--dashboard-host=0.0.0.0', '--dashboard-port=8265'),
    *(f'--node-ip-address={machines.subnet}.1', '--resources={"head": 1}'),
    f'--temp-dir={machines.folder}/ray',
  ]
  return _start(machines, 'head', words, [])


def _start_worker(
  machines: Machines, name: str, hidden, overlaid
) -> subprocess.Popen:
  number = 2 + list(_WORKERS).index(name)
  resources = str(_WORKERS[name]).replace("'", '"')
  words = [
    *(f'--address={machines.ray_address}', '--num-gpus=0'),
    *(f'--num-cpus={_NUM_CPUS[name]}', f'--resources={resources}'),
    f'--node-ip-address={machines.subnet}.{number}',
  ]
  mounts = [f'mount -t tmpfs none {machines.folder}/ray']
  for place in hidden:
    mounts.append(f'mount -t tmpfs none {shlex.quote(str(place))}')
  if overlaid:
    over = map(shlex.quote, (str(overlaid), str(hidden[0])))
    mounts.append(f'mount --bind {" ".join(over)}')
  return _start(machines, name, words, mounts)


def _start(machines, name, words, mounts) -> subprocess.Popen:
  """Starts Ray on a machine, with mounts that it alone sees."""
  start = [machines.python, '-m', 'ray.scripts.scripts', 'start', '--block']
  script = ' && '.join([*mounts, f'exec {shlex.join(start + words)}'])
  variables = machines.variables() | {
    'PATH': f'{pathlib.Path(machines.python).parent}:{os.environ["PATH"]}',
    'RAY_USAGE_STATS_ENABLED': '0',
  }
  del variables['PYTHONPATH']
  with open(machines.folder / f'{name}.log', 'wb') as log:
    return subprocess.Popen(
      ['ip', 'netns', 'exec', _name(name), 'bash', '-c', script],
      cwd='/',
      env=variables,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
    )


_COUNT = """
import sys, ray
ray.init(address=sys.argv[1], logging_level=50, log_to_driver=False)
print(sum(node['Alive'] for node in ray.nodes()))
"""


def _wait_for(machines: Machines, count: int, started) -> None:
  """Returns when so many machines have joined."""
  until = time.monotonic() + READY_WITHIN_S
  said = ''
  while time.monotonic() < until:
    for process in started:
      if process.poll() is not None:
        logs = ''.join(p.read_text() for p in machines.folder.glob('*.log'))
        raise RuntimeError(f'a machine did not start: {logs[-3000:]}')
    done = subprocess.run(
      machines.on_head(machines.python, '-c', _COUNT, machines.ray_address),
      env=machines.variables() | {'RAY_NUM_REDIS_GET_RETRIES': '2'},
      cwd='/',
      capture_output=True,
      text=True,
    )
    said = done.stdout + done.stderr
    if done.stdout.strip() == str(count):
      return
    time.sleep(1)
  raise RuntimeError(f'{count} machines did not join: {said[-2000:]}')


def take_away(pid: int) -> None:
  """Ends everything in the namespaces of a process; removes all it made."""
  for machine in ('head', *_WORKERS):
    name = _name(machine, pid)
    for _ in range(20):  # A process may be starting another one.
      found = _output('ip', 'netns', 'pids', name).split()
      for inside in found:
        with contextlib.suppress(ProcessLookupError):
          os.kill(int(inside), signal.SIGKILL)
      if not found:
        break
      time.sleep(0.1)
    subprocess.run(['ip', 'netns', 'delete', name], capture_output=True)
    shutil.rmtree(_ETC / name, ignore_errors=True)
  subprocess.run(
    ['ip', 'link', 'delete', _name('br', pid)], capture_output=True
  )
  for folder in FOLDER.glob(f'{PREFIX}{pid}-*'):
    shutil.rmtree(folder, ignore_errors=True)


def _output(*words: str) -> str:
  return subprocess.run(words, capture_output=True, text=True).stdout


def sweep_up() -> None:
  """Takes away what processes have left that are gone."""
  names = [line.split()[0] for line in _lines('ip', 'netns', 'list')]
  names += [path.name for path in FOLDER.glob(f'{PREFIX}*-*')]
  for name in names:
    pid = name.removeprefix(PREFIX).partition('-')[0]
    if name.startswith(PREFIX) and pid.isdecimal():
      if not pathlib.Path(f'/proc/{pid}').exists():
        take_away(int(pid))


def _lines(*words: str) -> list[str]:
  return [line for line in _output(*words).splitlines() if line.strip()]


if __name__ == '__main__':
  reason = why_not()
  if reason:
    sys.exit(f'no cluster here: {reason}')
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  with three_machines(hidden=[ROOT / 'mmdist']) as running:
    print(
      f'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={running.token_path}\n'
      f'on the head:  {shlex.join(running.on_head("bash"))}\n'
      f'  mmdist optimize --ray_address={running.ray_address} ...\n'
      f'from here:    mmdist submit --ray_address={running.job_server} ...\n'
      'Ctrl-C takes them away.',
      flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
      signal.pause()
