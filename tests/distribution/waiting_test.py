import pytest
import ray

from mmdist.distribution import waiting


class Clock:
  """Stands still until it is moved."""

  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(waiting.time, 'monotonic', lambda: self.now)


def test_it_is_said_now_and_then_how_long_it_has_been(monkeypatch):
  clock = Clock(monkeypatch)
  patience = waiting.Patience(30.0, 5.0)
  said = []
  for _ in range(70):
    clock.now += 1.0
    said.append(patience.due())
  assert [line for line in said if line] == ['5 s', '35 s', '1 min 05 s']


def test_one_who_waits_hears_signals_and_looks_until_the_deadline(monkeypatch):
  clock, heard, looked = Clock(monkeypatch), [], []

  def never(reference, timeout):
    del reference
    clock.now += timeout
    raise ray.exceptions.GetTimeoutError

  monkeypatch.setattr(ray, 'get', never)
  with pytest.raises(ray.exceptions.GetTimeoutError):
    waiting.get(
      None,
      2.0,
      lambda: heard.append(clock.now),
      lambda: looked.append(clock.now),
    )
  assert heard == [100.0, 100.5, 101.0, 101.5]
  assert looked == [100.5, 101.0, 101.5]
