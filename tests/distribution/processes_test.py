import os
import signal
import subprocess

import pytest

from mmdist.distribution import processes


def test_a_number_that_is_in_other_use_now_is_left_alone():
  with subprocess.Popen(['sleep', '60']) as process:
    processes._kill(process.pid)
    with pytest.raises(subprocess.TimeoutExpired):
      process.wait(0.5)
    process.kill()


def test_a_process_of_ray_is_killed_even_if_it_is_stopped():
  # Ray's processes call themselves so.
  command = ['bash', '-c', 'exec -a ray::PriorActor sleep 60']
  with subprocess.Popen(command) as process:
    while not is_renamed(process.pid):
      pass
    os.kill(process.pid, signal.SIGSTOP)
    processes._kill(process.pid)
    assert process.wait(10) == -signal.SIGKILL


def is_renamed(pid) -> bool:
  with open(f'/proc/{pid}/cmdline', 'rb') as file:
    return file.read().startswith(b'ray::')


def test_a_process_that_is_gone_is_no_error():
  process = subprocess.Popen(['true'])
  process.wait()
  processes._kill(process.pid)


def test_a_process_that_was_asked_to_end_may_do_so_by_itself():
  command = ['bash', '-c', 'exec -a ray::PriorActor sleep 0.5']
  with subprocess.Popen(command) as process:
    while not is_renamed(process.pid):
      pass
    processes._kill(process.pid, 30.0)
    assert process.wait(10) == 0
