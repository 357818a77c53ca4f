import math

import numpy as np
import pytest
import torch

from mmdist.evaluation import pickscore


def test_clip_score_is_a_hundred_cosines_and_never_negative():
  scores = pickscore.clip_scores(np.array([0.25, -0.25, 1.0]))
  np.testing.assert_allclose(scores, [25, 0, 100])


def test_pickscore_is_the_scaled_cosine():
  scores = pickscore.pick_scores(np.array([0.2, -0.1]), 100.0)
  np.testing.assert_allclose(scores, [20, -10])


def test_preference_is_the_softmax_over_both():
  rng = np.random.default_rng(0)
  scores, others = rng.normal(20, 2, (2, 7))
  both = torch.from_numpy(np.stack([scores, others], -1))
  np.testing.assert_allclose(
    pickscore.preference_probabilities(scores, others),
    both.softmax(-1)[:, 0],
  )


def test_what_is_preferred_over_me_i_am_not_preferred_over():
  rng = np.random.default_rng(1)
  scores, others = rng.normal(20, 2, (2, 7))
  for measure in (pickscore.preference_rate, pickscore.preferred_share):
    assert 0 < measure(scores, others) < 1
    assert measure(scores, others) + measure(others, scores) == pytest.approx(1)
    assert measure(scores, scores) == 0.5


def test_the_rate_weighs_by_how_much_and_the_share_counts():
  scores, others = np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1000.0])
  rate = (2 / (1 + math.exp(-1)) + 0) / 3
  assert pickscore.preference_rate(scores, others) == pytest.approx(rate)
  assert pickscore.preferred_share(scores, others) == pytest.approx(2 / 3)


def test_scores_of_other_views_are_refused():
  for measure in (pickscore.preference_rate, pickscore.preferred_share):
    with pytest.raises(ValueError, match=r'others has shape \(2,\); expec'):
      measure(np.zeros(3), np.zeros(2))


def test_r_precision_counts_pictures_nearest_to_their_own_text():
  cosines = np.array(
    [
      [0.3, 0.2, 0.1],
      [0.2, 0.1, 0.3],
      [0.3, 0.3, 0.1],  # A draw.
      [-0.1, -0.2, -0.3],
    ]
  )
  assert pickscore.r_precision(cosines) == 0.5


def test_one_text_cannot_be_told_from_others():
  assert pickscore.r_precision(np.ones((3, 1))) is None
