"""The judge of the package tells true heads from one another."""

import numpy as np
import pytest

from mmdist.core import asset_paths
from mmdist.evaluation import agreement
from mmdist.evaluation import judge as judge_lib
from mmdist.heads import subjects
from mmdist.heads import worlds

HEADS_PER_EXPRESSION = 2


@pytest.fixture(scope='module')
def judge():
  return judge_lib.load(asset_paths.resolve('judge'))


def test_it_knows_every_question(judge):
  assert judge.world is worlds.get(worlds.DEFAULT)
  asked = [judge_lib.Question(**q) for q in judge.world.questions.questions()]
  assert list(judge.questions) == asked


def test_its_accuracy_is_on_record(judge):
  accuracy = judge.record['held_out_accuracy']
  assert set(accuracy) == {question.name for question in judge.questions}
  assert accuracy['expression'] > 0.9


@pytest.mark.slow
def test_it_reads_expressions_from_the_views_that_judge_results(judge):
  views = agreement.judging_views().take(np.array([0, 1, 6]))
  expressions, right = judge.world.attributes.choices['expression'], 0
  for number, expression in enumerate(expressions):
    for index in range(HEADS_PER_EXPRESSION):
      fixed = {'expression': expression, 'glasses': '', 'beard': ''}
      head = subjects.sample_head(judge.world, 901 + number, index, fixed=fixed)
      truth = subjects.render_heads(judge.world, [head] * len(views), views, 64)
      verdict = agreement.measure(
        judge,
        truth.over(np.full(3, agreement.BACKGROUND)),
        views.words,
        {'expression': expression},
      )
      right += verdict.overall
  assert right / (HEADS_PER_EXPRESSION * len(expressions)) > 0.8
