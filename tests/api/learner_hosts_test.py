import dataclasses
import socket

import pytest

from mmdist.api import executors
from mmdist.api import learner_hosts
from mmdist.config import schema
from mmdist.core import errors
from mmdist.learner import host_joining
from mmdist.run import host_environment

CLUSTER = executors.RayOptions('10.1.2.3:6379')
NAMES = (
  'JAX_COORDINATOR_ADDRESS',
  'JAX_PROCESS_ID',
  'SLURM_PROCID',
  'SLURM_STEP_NODELIST',
  'OMPI_COMM_WORLD_RANK',
  'TPU_WORKER_ID',
)


@pytest.fixture(autouse=True)
def fixture_environment(monkeypatch):
  for name in NAMES:
    monkeypatch.delenv(name, raising=False)


def config_of(num_hosts: int) -> schema.RunConfig:
  learner = schema.LearnerConfig(num_hosts=num_hosts)
  return dataclasses.replace(schema.RunConfig(), learner=learner)


@pytest.mark.parametrize(
  'variables, rank',
  [
    ({}, None),
    ({'JAX_COORDINATOR_ADDRESS': 'a:1', 'JAX_PROCESS_ID': '2'}, 2),
    ({'JAX_PROCESS_ID': '2'}, None),
    ({'SLURM_PROCID': '3', 'SLURM_STEP_NODELIST': 'a,b'}, 3),
    # The shell in which a job's script runs is none of its steps.
    ({'SLURM_PROCID': '0'}, None),
    ({'OMPI_COMM_WORLD_RANK': '1'}, 1),
    ({'TPU_WORKER_ID': '0'}, 0),
  ],
)
def test_the_environment_says_which_host_this_is(monkeypatch, variables, rank):
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert host_environment.rank_here() == rank
  assert learner_hosts.follows(config_of(4)) == bool(rank)
  assert not learner_hosts.follows(config_of(1))


@pytest.mark.parametrize('value', ['', 'one', '-1'])
def test_a_host_that_has_no_number_is_told_so(monkeypatch, value):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'a:1')
  monkeypatch.setenv('JAX_PROCESS_ID', value)
  with pytest.raises(errors.UserError, match='expected the number of this'):
    learner_hosts.check(config_of(2), 'inline')


@pytest.mark.parametrize('executor', ['inline', 'ray', executors.RayOptions()])
def test_hosts_that_nobody_starts_are_refused(executor):
  learner_hosts.check(config_of(1), executor)
  with pytest.raises(errors.UserError, match='nobody starts the others: start'):
    learner_hosts.check(config_of(2), executor)


def test_a_cluster_starts_them_and_so_does_the_environment(monkeypatch):
  learner_hosts.check(config_of(2), CLUSTER)
  monkeypatch.setenv('OMPI_COMM_WORLD_RANK', '2')
  learner_hosts.check(config_of(3), 'inline')
  with pytest.raises(errors.UserError, match='is number 2, counted from 0'):
    learner_hosts.check(config_of(2), 'inline')


def test_a_cell_of_a_sweep_has_one_host():
  shared = executors.SharedActors({}, 'cell')
  with pytest.raises(errors.UserError, match='a cell of a sweep runs on one'):
    learner_hosts.check(config_of(2), shared)


@pytest.mark.parametrize(
  'coordinator, own, is_refused',
  [
    ('10.1.2.3', '127.0.1.1', True),
    ('10.1.2.3', '10.1.2.4', False),
    ('127.0.0.1', '127.0.1.1', False),  # All hosts are on one machine.
  ],
)
def test_a_name_that_stands_for_no_network_is_told(
  monkeypatch, coordinator, own, is_refused
):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setattr(socket, 'gethostname', lambda: 'box')
  monkeypatch.setattr(
    socket, 'gethostbyname', lambda name: own if name == 'box' else name
  )
  monkeypatch.setattr(
    host_joining.host_store, 'coordinator', lambda: f'{coordinator}:99'
  )
  line = host_joining._unreachable('a')
  assert ("'box' stands for 127.0.1.1" in line) == is_refused
  assert bool(line) == is_refused
