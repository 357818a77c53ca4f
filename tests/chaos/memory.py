"""A prior that grows until Ray's memory monitor ends its process.

  python -m tests.chaos.memory FOLDER

Prints 'came back' if the prior answered on as if nothing had happened.
"""

import dataclasses
import functools
import os
import pathlib
import sys
import time

import numpy as np

from mmdist.core import messages
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor
from tests.chaos import injection
from tests.distribution import fake_prior

NAME = 'generic'
BLOCK = 2**27  # Bytes.
MOST = 2**32  # What is eaten at most; the monitor acts at half of it.
PLAN = (injection.Fault(NAME, 3, 'score:before', 'eat'),)


class HungryPrior(injection.FaultyPrior):
  """Eats memory where its plan says so, until somebody ends it."""

  def score(self, request):
    if injection.fire(PLAN, self._folder, request.step, 'score:before'):
      eaten = []
      while len(eaten) * BLOCK < MOST:
        eaten.append(np.ones(BLOCK, np.uint8))
        time.sleep(0.05)  # So that the monitor can look.
      time.sleep(30.0)
      raise AssertionError('nobody minded')
    return super().score(request)


def recipe(folder: pathlib.Path) -> messages.PriorRecipe:
  plain = fake_prior.recipe(NAME)
  build = functools.partial(build_hungry, build=plain.build, folder=folder)
  return dataclasses.replace(plain, build=build)


def build_hungry(spec, *, build, folder):
  return HungryPrior(build(spec), (), folder)


def share_of_memory(extra: int) -> float:
  """Returns what share of the machine is used with so many bytes more."""
  lines = pathlib.Path('/proc/meminfo').read_text().splitlines()
  sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines}
  total = sizes['MemTotal:']
  return (total - sizes['MemAvailable:'] + extra) / total


def main() -> None:
  folder = pathlib.Path(sys.argv[1])
  os.environ['RAY_memory_usage_threshold'] = str(share_of_memory(MOST // 2))
  os.environ['RAY_memory_monitor_refresh_ms'] = '100'
  with executor_lib.InlineExecutor([fake_prior.recipe(NAME)]) as inline:
    expected = [
      inline.submit(fake_prior.requests(step, NAME)).result()
      for step in range(6)
    ]
  with ray_executor.RayExecutor([recipe(folder)]) as running:
    for step in range(6):
      answer = running.submit(fake_prior.requests(step, NAME)).result()
      np.testing.assert_array_equal(
        answer[NAME].cotangent, expected[step][NAME].cotangent
      )
  injection.assert_fired(PLAN, folder)


if __name__ == '__main__':
  main()
  print('came back')
