import numpy as np
import pytest

from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import ledger


def answer(prior, cotangent, channel='rgb', **metrics):
  cotangent = np.asarray(cotangent, np.float32).reshape(1, 1, 1, 3)
  return messages.ScoreGradient(0, prior, channel, cotangent, 0, metrics)


ANSWERS = {
  'personal': answer('personal', [0, 4, 0], norm_0=4.0),
  'generic': answer(
    'generic',
    [3, 4, 0],
    norm_0=6.0,
    norm_1=1.0,
    cosine_1=-0.5,
    share_0=1.25,
    share_1=-0.25,
    seconds=0.25,
  ),
  'normal': answer('normal', [0, 0, 1], 'normal', norm_0=1.0),
}


def test_metrics_say_how_large_each_answer_was():
  metrics = ledger.step_metrics(ANSWERS, {'generic': {'proxy_loss': 0.5}})
  assert metrics == pytest.approx(
    {
      'cotangent_norm/generic': 5.0,
      'cotangent_norm/generic/0': 6.0,
      'cotangent_norm/generic/1': 1.0,
      'cosine/generic/1': -0.5,
      'cosine/generic~personal': 0.8,
      'cosine/generic': 41 / (5 * np.sqrt(73)),
      'cosine/personal': 32 / (4 * np.sqrt(73)),
      'cosine/normal': 1.0,
      'conflict/generic': 0.0,
      'conflict/generic/1': 1.0,
      'conflict/personal': 0.0,
      'conflict/normal': 0.0,
      'share/generic': 41 / 73,
      'share/personal': 32 / 73,
      'share/normal': 1.0,
      'share/generic/0': 41 / 73 * 1.25,
      'share/generic/1': 41 / 73 * -0.25,
      'seconds/generic': 0.25,
      'proxy_loss/generic': 0.5,
      'cotangent_norm/personal': 4.0,
      'cotangent_norm/personal/0': 4.0,
      'cotangent_norm/normal': 1.0,
      'cotangent_norm/normal/0': 1.0,
    }
  )
  assert list(metrics) == sorted(metrics)


def test_shares_of_dealt_views_are_of_the_whole_sum():
  answers = {
    name: messages.ScoreGradient(
      0, name, 'rgb', np.full((1, 1, 1, 3), size, np.float32), 0, {}
    )
    for name, size in (('a', 1.0), ('b', -2.0))
  }
  views = {'a': np.array([1]), 'b': np.array([0])}
  metrics = ledger.step_metrics(answers, views=views)
  # The sum is -2 in three numbers of one view and 1 in three of the other.
  assert metrics['share/a'] == pytest.approx(1 / 5)
  assert metrics['share/b'] == pytest.approx(4 / 5)
  assert not [name for name in metrics if '~' in name]


def test_a_prior_that_works_against_the_sum_has_a_negative_cosine():
  answers = {'a': answer('a', [3, 0, 0]), 'b': answer('b', [-1, 0, 0])}
  metrics = ledger.step_metrics(answers)
  assert metrics['cosine/a'] == 1.0 and metrics['cosine/b'] == -1.0
  assert metrics['share/b'] == -0.5
  assert metrics['conflict/a'] == 0.0 and metrics['conflict/b'] == 1.0


def test_one_concept_alone_cannot_be_against_its_own_sum():
  metrics = ledger.step_metrics(
    {'a': answer('a', [1, 0, 0], norm_0=1.0, cosine_0=1.0, share_0=1.0)}
  )
  assert [name for name in metrics if name.startswith('conflict')] == [
    'conflict/a'
  ]


def test_weights_are_told_where_a_schedule_moves_them():
  terms = [
    binding.PriorConcept('a', 'rgb', 'happy', 2.0, schedule='linear(1, 0)'),
    binding.PriorConcept('a', 'rgb', 'sad', -1.0),
    binding.PriorConcept('b', 'rgb', 'sad', -1.0, schedule='linear(0, 1)'),
  ]
  objective = binding.BoundObjective(tuple(terms))
  weights = [ledger.scheduled_weights(objective, s, 3) for s in range(3)]
  assert weights == [
    {'weight/a/0': 2.0, 'weight/b/0': 0.0},
    {'weight/a/0': 1.0, 'weight/b/0': -0.5},
    {'weight/a/0': 0.0, 'weight/b/0': -1.0},
  ]


def test_each_concepts_proxy_may_report_its_loss():
  metrics = ledger.step_metrics(
    {'a': answer('a', [1, 0, 0])},
    {'a': {'proxy_loss': 0.5, 'proxy_loss_0': 0.25, 'proxy_loss_1': 0.75}},
  )
  assert metrics['proxy_loss/a'] == 0.5
  assert metrics['proxy_loss/a/0'] == 0.25
  assert metrics['proxy_loss/a/1'] == 0.75


def test_nothing_has_no_share_of_nothing():
  metrics = ledger.step_metrics({'a': answer('a', [0, 0, 0])})
  assert metrics['share/a'] == 0


def test_nothing_has_no_direction():
  assert ledger.cosine(np.zeros(3), np.ones(3)) == 0.0
