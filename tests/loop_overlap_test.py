"""Priors score one part of a step while the learner is busy with another."""

import pytest

from experiments.benchmarks import overlap

pytestmark = pytest.mark.slow
LOADS = (
  overlap.Load('learner', 0.8, 0.4, 0.1),
  overlap.Load('prior', 0.25, 0.6, 0.15),
)


def test_a_step_in_parts_takes_as_long_as_its_slower_side():
  rows = overlap.measure(LOADS, (1, 4), steps=5)
  over = {
    (row['bound'], row['micro_batches']): row['over_best'] for row in rows
  }
  for load in LOADS:
    assert 0.99 < over[load.bound, 4] <= 1.1
    # In one part, the learner waits for the whole of the slowest score.
    serial = load.learner_s + load.score_s
    assert over[load.bound, 1] >= 0.99 * serial / load.best_s
    assert over[load.bound, 1] > 1.1
