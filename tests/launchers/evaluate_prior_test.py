import json

import pytest

from launchers import evaluate_prior
from mmdist.evaluation import prior_evaluation

ROW = {
  'prompt_agreement': 0.5,
  'true_render_agreement': 1.0,
  'share_of_true': 0.5,
  'chance': 0.1,
  'per_attribute': {'hat': 0.5},
  'true_per_attribute': {'hat': 1.0},
}


def test_the_numbers_of_a_prior_are_lines_or_an_object(monkeypatch, capsys):
  asked = []

  def fake(prior, options):
    asked.append((prior, options.num))
    return ROW

  monkeypatch.setattr(prior_evaluation, 'evaluate_prior', fake)
  evaluate_prior.main(prior_evaluation.Options(num=3), ['color'])
  assert capsys.readouterr().out.splitlines()[-1].split() == [
    'hat',
    '0.500',
    'of',
    '1.000',
  ]
  evaluate_prior.main(prior_evaluation.Options(json=True), ['normal'])
  assert json.loads(capsys.readouterr().out) == ROW
  assert asked == [('color', 3), ('normal', 64)]


def test_no_prior_is_answered_with_the_usage():
  with pytest.raises(ValueError, match='evaluate_prior color'):
    evaluate_prior.main(prior_evaluation.Options(), [])
