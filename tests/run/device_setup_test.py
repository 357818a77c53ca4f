"""Threads of learner and priors, and where JAX keeps what it compiled."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from mmdist.run import device_setup

FRACTION = 'XLA_PYTHON_CLIENT_MEM_FRACTION'
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
  'num_priors, num_cores, expected',
  [(2, 2, (2, 1)), (1, 2, (2, 2)), (2, 16, (16, 8)), (5, 2, (2, 1))],
)
def test_cores_are_shared_by_the_priors(num_priors, num_cores, expected):
  threads = device_setup.share_cores(num_priors, num_cores)
  assert (threads.learner, threads.prior) == expected


def test_the_cores_of_this_process_are_counted():
  cores = len(os.sched_getaffinity(0))
  assert device_setup.share_cores(1).learner == cores


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert device_setup.cache_directory() == tmp_path / 'mmdist'
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert device_setup.cache_directory() == tmp_path / '.cache' / 'mmdist'


@pytest.mark.slow
def test_jax_gets_its_devices_and_caches_what_is_slow(tmp_path):
  script = """
import os
import jax
from mmdist.run import device_setup
device_setup.set_up_jax(3)
device_setup.set_up_jax(3)
print(jax.local_device_count(), jax.config.jax_compilation_cache_dir)
print(*os.environ['XLA_FLAGS'].split())
"""
  environment = os.environ | {
    'XDG_CACHE_HOME': str(tmp_path),
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_gpu_deterministic_ops=false',
  }
  done = subprocess.run(
    [sys.executable, '-c', script],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  found, flags = done.stdout.splitlines()
  assert found.split() == ['3', str(tmp_path / 'mmdist' / 'jax')]
  # The user's own flag stays, and each of ours is added once.
  assert flags.split() == [
    '--xla_gpu_deterministic_ops=false',
    '--xla_cpu_multi_thread_eigen=false',
  ]


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, value',
  [
    ('XLA_FLAGS', '--xla_force_host_platform_device_count=5'),
    ('JAX_NUM_CPU_DEVICES', '5'),
  ],
)
def test_the_users_own_number_of_devices_stays(name, value):
  script = """
import jax
from mmdist.run import device_setup
device_setup.set_up_jax(3)
print(jax.local_device_count())
"""
  environment = os.environ | {'JAX_PLATFORMS': 'cpu', name: value}
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', script],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == '5\n'


@pytest.mark.parametrize(
  'options, expected',
  [
    ({}, ['false', None]),
    ({'memory_fraction': 0.61234}, ['false', '0.612']),
    ({'num_gpus': 2}, [None, None]),  # All of its own.
  ],
)
def test_jax_leaves_memory_on_gpus_that_it_shares(
  monkeypatch, options, expected
):
  names = ['XLA_PYTHON_CLIENT_PREALLOCATE', FRACTION]
  for name in [*names, 'XLA_FLAGS']:
    monkeypatch.setenv(name, '')  # So that it is put back after the test.
    monkeypatch.delenv(name)
  monkeypatch.setattr(jax.config, 'update', lambda name, value: None)
  device_setup.set_up_jax(2, **options)
  assert [os.environ.get(name) for name in names] == expected


def test_what_the_user_says_of_memory_stays(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '')
  monkeypatch.setenv('XLA_PYTHON_CLIENT_PREALLOCATE', 'true')
  monkeypatch.setenv(FRACTION, '0.9')
  monkeypatch.setattr(jax.config, 'update', lambda name, value: None)
  device_setup.set_up_jax(2, memory_fraction=0.5)
  assert os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] == 'true'
  assert os.environ[FRACTION] == '0.9'
