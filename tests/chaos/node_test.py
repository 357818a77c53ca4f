"""A machine vanishes with the prior that it hosts, or has no memory left."""

import pytest

from tests.chaos import processes

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


def test_a_prior_comes_back_on_another_machine():
  # In a process of its own, which has joined no other Ray before.
  process = processes.start(module='tests.chaos.machines')
  code, out, errors = processes.finish(process)
  assert code == 0, errors
  assert 'came back' in out


def test_a_prior_comes_back_that_the_memory_monitor_ended(tmp_path):
  process = processes.start(tmp_path, module='tests.chaos.memory')
  code, out, errors = processes.finish(process)
  assert code == 0, errors
  assert 'came back' in out
