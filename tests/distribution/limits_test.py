import pytest

from mmdist.distribution import limits

LIMITS = limits.Limits(
  deadline_s=1000.0, deadline_factor=20.0, deadline_floor_s=100.0
)


def built() -> limits.Deadline:
  """Returns the deadline of a prior that has just been loaded."""
  deadline = limits.Deadline()
  deadline.begin()
  return deadline


def deadline_after(*took):
  deadline = built()
  for seconds in took:
    deadline.note(seconds)
  return deadline.seconds(LIMITS)


@pytest.mark.parametrize(
  'took, seconds',
  [
    ([], 500),  # The first compiles and reads what is cold.
    ([0.1] * 9, 500),  # Not known yet.
    ([40.0], 800),  # The first one was slow already.
    ([90.0], 1000),
    ([0.1] * 10, 100),  # Never less than the floor.
    ([10.0] * 10, 200),
    ([90.0] + [10.0] * 10, 200),
    ([90.0] * 10, 1000),  # Never more than the limit.
    ([1.0] * 60 + [30.0] * 50, 600),  # It follows what is usual now.
  ],
)
def test_a_deadline_follows_from_the_answers_before(took, seconds):
  assert deadline_after(*took) == seconds


def test_a_prior_that_hangs_at_first_is_found_in_minutes():
  assert built().seconds(limits.Limits()) == 600.0


def test_what_is_asked_of_a_prior_that_still_loads_has_all_the_time():
  assert limits.Deadline().seconds(LIMITS) == LIMITS.deadline_s


def test_a_process_that_was_brought_back_may_be_slow_at_first_again():
  deadline = built()
  for _ in range(20):
    deadline.note(0.1)
  assert deadline.seconds(LIMITS) == 100
  deadline.begin()
  assert deadline.seconds(LIMITS) == 500


def test_a_prior_that_is_only_slow_is_not_lost_for_ever():
  deadline = built()
  waited = []
  for _ in range(3):
    waited.append(deadline.seconds(LIMITS))
    deadline.note_loss()
    deadline.begin()
  assert waited == [500, 1000, 1000]
  deadline.note(1.0)  # It answers after all.
  assert deadline.seconds(LIMITS) == 500
