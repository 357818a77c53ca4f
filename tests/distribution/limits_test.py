import pytest

from mmdist.distribution import limits

LIMITS = limits.Limits(
  deadline_s=1000.0, deadline_factor=20.0, deadline_floor_s=100.0
)


def deadline_after(*took):
  deadline = limits.Deadline()
  for seconds in took:
    deadline.note(seconds)
  return deadline.seconds(LIMITS)


@pytest.mark.parametrize(
  'took, seconds',
  [
    ([], 1000),
    ([0.1] * 9, 1000),  # Not known yet.
    ([0.1] * 10, 100),  # Never less than the floor.
    ([10.0] * 10, 200),
    ([90.0] + [10.0] * 10, 200),  # The first compiles.
    ([90.0] * 10, 1000),  # Never more than the limit.
    ([1.0] * 60 + [30.0] * 50, 600),  # It follows what is usual now.
  ],
)
def test_a_deadline_follows_from_the_answers_before(took, seconds):
  assert deadline_after(*took) == seconds
