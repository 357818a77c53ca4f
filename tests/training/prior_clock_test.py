import pytest

from mmdist.training import prior_clock


@pytest.fixture(name='now')
def fixture_now(monkeypatch):
  now = [100.0]
  monkeypatch.setattr('time.time', lambda: now[0])
  return now


def test_time_is_up_after_so_many_minutes_or_never(now):
  clock, endless = (prior_clock.Clock(m, 60, 0) for m in (2.0, 0.0))
  now[0] = 219.0
  assert not clock.is_over()
  now[0] = 221.0
  assert clock.is_over() and not endless.is_over()


def test_saving_and_looking_are_due_once_per_period(now):
  clock = prior_clock.Clock(0, 60, 0.5)
  assert not clock.saves_now() and not clock.looks_now()
  now[0] = 131.0
  assert clock.looks_now() and not clock.looks_now()
  now[0] = 161.0
  assert clock.saves_now() and not clock.saves_now()
  assert not clock.looks_now()  # 30 s after the last look, not more.


def test_nobody_looks_at_a_period_of_zero(now):
  clock = prior_clock.Clock(0, 60, 0)
  now[0] = 1e6
  assert not clock.looks_now()
