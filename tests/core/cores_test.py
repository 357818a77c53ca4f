"""The cores of this process, also where the system does not tell them."""

import ast
import os
import pathlib

import pytest

from mmdist.core import cores
from mmdist.heads import prefetch
from mmdist.run import device_setup
from mmdist.run import snapshots
from mmdist.sweeps import ray_slots

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINUX_ONLY = {'sched_getaffinity', 'sched_setaffinity'}


@pytest.fixture(name='macos')
def fixture_macos(monkeypatch):
  """Takes away what only Linux has."""
  for name in LINUX_ONLY:
    monkeypatch.delattr(os, name, raising=False)
  monkeypatch.setattr(os, 'cpu_count', lambda: 6)


def test_the_cores_that_linux_gives_are_sorted(monkeypatch):
  monkeypatch.setattr(
    os, 'sched_getaffinity', lambda pid: {9, 4}, raising=False
  )
  assert cores.usable() == [4, 9] and cores.count() == 2


@pytest.mark.usefixtures('macos')
def test_where_nothing_says_which_cores_are_ours_all_are():
  assert cores.usable() == list(range(6))
  cores.keep_to({0, 1})  # Cannot be chosen there, and is no error.
  assert device_setup.share_cores(2) == device_setup.Threads(6, 3)
  assert snapshots.fingerprint()['cores'] == '6'
  assert prefetch.default_num_processes() >= 1
  assert ray_slots.Runner()._cores == list(range(6))


@pytest.mark.parametrize('number', [None, 0])
def test_there_is_one_core_where_nobody_knows_how_many(
  number, macos, monkeypatch
):
  del macos
  monkeypatch.setattr(os, 'cpu_count', lambda: number)
  assert cores.count() == 1
  assert device_setup.share_cores(3) == device_setup.Threads(1, 1)


def test_a_sandbox_that_refuses_to_say_is_no_error(monkeypatch):
  def refuse(pid):
    raise PermissionError(1, 'Operation not permitted')

  monkeypatch.setattr(os, 'sched_getaffinity', refuse, raising=False)
  monkeypatch.setattr(os, 'cpu_count', lambda: 3)
  assert cores.count() == 3


def test_nothing_else_asks_linux_for_its_cores():
  asking = {
    str(path.relative_to(ROOT))
    for room in ('mmdist', 'launchers', 'experiments')
    for path in (ROOT / room).rglob('*.py')
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
    if isinstance(node, ast.Attribute) and node.attr in LINUX_ONLY
  }
  assert asking == {'mmdist/core/cores.py'}
