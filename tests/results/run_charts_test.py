"""What the charts of a ledger show, where the numbers are known by hand."""

import numpy as np
import pytest

from experiments import edit
from mmdist.config import schema
from mmdist.core import messages
from mmdist.objectives import ledger
from mmdist.results import charts
from mmdist.results import ledger_table
from mmdist.results import run_charts

COSINE = 'cosine with the sum'
CONFLICT = 'conflict: share of steps against the sum'
NORM = 'norm of the answers, dL/d image'
PART_NORM = "norm of the concepts' parts, in the network's space"


@pytest.fixture(name='draw')
def fixture_draw(monkeypatch):
  """Returns a function from metrics and labels to title -> drawn curves."""

  def draw(metrics, labels):
    drawn = {}
    monkeypatch.setattr(charts, 'draw_chart', drawn.__setitem__)
    run_charts.draw_ledger(run_charts.group(metrics), labels)
    return drawn

  return draw


def answer(prior, cotangent, channel='rgb', **metrics):
  cotangent = np.array(cotangent, np.float32).reshape(1, 1, 1, 3)
  return messages.ScoreGradient(0, prior, channel, cotangent, 0, metrics)


# What a prior with one concept reports of it: against its own sum.
ALONE = {'norm_0': 7.0, 'cosine_0': 1.0, 'share_0': 1.0}
GENERIC = [4.0, 0.0, 0.0]
# Two steps: it works against the generic prior, then with it.
PERSONAL = ([-2.0, 1.0, 0.0], [2.0, 1.0, 0.0])


def blend(**reported):
  """Returns `edit:blend`, and two steps whose numbers are known by hand.

  The sum of the first one is (2, 1, 0), that of the second one (6, 1, 0).
  """
  rows = []
  for step, personal in enumerate(PERSONAL):
    answers = {
      'generic': answer('generic', GENERIC, **reported),
      'personal': answer('personal', personal, **reported),
      'normal': answer('normal', [0, 0, 3.0], 'normal', **reported),
    }
    rows.append({'step': step, **ledger.step_metrics(answers)})
  return edit.get_config('blend'), rows


# A prior that is a function reports nothing of its concepts.
@pytest.mark.parametrize('reported', [ALONE, {}])
def test_a_prior_against_another_one_is_in_conflict_in_table_and_chart(
  draw, reported
):
  run, rows = blend(**reported)
  by_hand = {  # Cosines of the two steps, then shares.
    'generic': [8 / (4 * 5**0.5), 24 / (4 * 37**0.5), 8 / 5, 24 / 37],
    'personal': [-3 / 5, 13 / (5 * 37) ** 0.5, -3 / 5, 13 / 37],
    'normal': [1, 1, 1, 1],
  }
  norms = {'generic': 4.0, 'personal': 5**0.5, 'normal': 3.0}
  conflicts = {'generic': 0, 'personal': 0.5, 'normal': 0}
  table = ledger_table.make(rows, run)
  assert table['concept'] == [run.prompt] * 3
  labels = ledger_table.labels(run)
  drawn = draw(rows, labels)
  for row in table:
    prior = row['prior']
    first, second, *shares = by_hand[prior]
    assert row['cosine'] == pytest.approx((first + second) / 2)
    assert row['share'] == pytest.approx(sum(shares) / 2)
    assert row['norm'] == pytest.approx(norms[prior])
    assert row['conflict'] == conflicts[prior]
    name = f'{prior}: {run.prompt}'
    assert drawn[COSINE][name] == [
      (0, pytest.approx(first)),
      (1, pytest.approx(second)),
    ]
    assert drawn[CONFLICT][name] == [(0, float(first < 0)), (1, 0.0)]
    assert drawn[NORM][name] == [
      (s, pytest.approx(norms[prior])) for s in (0, 1)
    ]
    assert [row[f'conflict/{prior}'] for row in rows] == [first < 0, 0]
  assert [len(drawn[title]) for title in (COSINE, CONFLICT, NORM)] == [3] * 3


def two_concepts():
  run = schema.RunConfig(
    concepts=[
      schema.ConceptConfig('a happy man', 1.0, (), 'happy'),
      schema.ConceptConfig('a sad man', -0.5, (), 'sad'),
    ]
  )
  run.priors = {'generic': schema.PriorConfig()}
  return run


def test_concepts_of_one_prior_are_against_its_sum(draw):
  reported = {
    'norm_0': 30.0,
    'norm_1': 20.0,
    'cosine_0': 0.9,
    'cosine_1': -0.2,
    'share_0': 1.5,
    'share_1': -0.5,
  }
  answers = {'generic': answer('generic', GENERIC, **reported)}
  rows = [{'step': step, **ledger.step_metrics(answers)} for step in range(2)]
  run = two_concepts()
  table = ledger_table.make(rows, run)
  assert table['concept'] == [None, 'a happy man', 'a sad man']
  assert table['weight'] == [None, 1.0, -0.5]
  assert table['cosine'] == pytest.approx([1.0, 0.9, -0.2])
  assert table['share'] == pytest.approx([1.0, 1.5, -0.5])
  assert table['conflict'] == [0.0, 0.0, 1.0]
  drawn = draw(rows, ledger_table.labels(run))
  # It is alone on its channel, so its own cosine and share tell nothing.
  assert set(drawn[COSINE]) == {'generic: happy', 'generic: sad'}
  assert set(drawn['share of the update']) == set(drawn[COSINE])
  assert drawn[CONFLICT]['generic: sad'] == [(0, 1.0), (1, 1.0)]
  assert drawn[NORM] == {'generic': [(0, 4.0), (1, 4.0)]}
  assert set(drawn[PART_NORM]) == {'generic: happy', 'generic: sad'}


def test_a_prior_with_two_concepts_has_its_own_curve_beside_another_prior(draw):
  run = two_concepts()
  run.priors['other'] = schema.PriorConfig()
  run.concepts.append(schema.ConceptConfig('a hat', 1.0, ('other',)))
  for concept in run.concepts[:2]:
    concept.priors = ('generic',)
  reported = {'cosine_0': 0.8, 'cosine_1': 0.7, 'norm_0': 1.0, 'norm_1': 1.0}
  answers = {
    'generic': answer('generic', [-1.0, 0, 0], **reported),
    'other': answer('other', [3.0, 0, 0], **ALONE),
  }
  rows = [{'step': 0, **ledger.step_metrics(answers)}]
  drawn = draw(rows, ledger_table.labels(run))
  assert drawn[COSINE]['generic'] == [(0, pytest.approx(-1.0))]
  assert drawn[COSINE]['other: a hat'] == [(0, pytest.approx(1.0))]
  assert drawn[CONFLICT]['generic'] == [(0, 1.0)]
  table = ledger_table.make(rows, run)
  assert table['prior'] == ['generic', 'generic', 'generic', 'other']
  assert table['conflict'] == [1.0, 0.0, 0.0, 0.0]


def test_norms_of_latents_are_not_beside_norms_of_pixels(draw):
  run = two_concepts()
  run.priors['latent'] = schema.PriorConfig()
  latent = {'norm_0': 900.0, 'norm_1': 800.0}
  answers = {
    'generic': answer('generic', GENERIC, **ALONE),
    'latent': answer('latent', [0, 5.0, 0], **latent),
  }
  rows = [{'step': 0, **ledger.step_metrics(answers)}]
  drawn = draw(rows, ledger_table.labels(run))
  assert sorted(points[0][1] for points in drawn[NORM].values()) == [4.0, 5.0]
  parts = drawn[PART_NORM]
  assert sorted(points[0][1] for points in parts.values()) == [800.0, 900.0]


def test_a_rate_of_conflict_is_a_mean_over_a_fifth_of_the_steps(draw):
  rows = [{'step': s, 'conflict/p': float(s < 50)} for s in range(100)]
  rate = dict(draw(rows, {})[CONFLICT]['p'])
  assert (rate[0], rate[39], rate[60], rate[99]) == (1, 1, 0, 0)
  assert rate[49] == pytest.approx(11 / 21)


def test_curves_of_equal_texts_are_all_drawn(draw):
  run = schema.RunConfig(
    num_steps=3,
    concepts=[
      schema.ConceptConfig('a man', 1.0, (), 'early', 'linear(1, 0)'),
      schema.ConceptConfig('a  man', 1.0, (), 'late', 'linear(0, 1)'),
      schema.ConceptConfig('a man', 1.0, (), '', 'cosine(0, 1)'),
    ],
  )
  run.priors = {'generic': schema.PriorConfig()}
  rows = [
    {'step': step} | {f'share/generic/{i}': float(i) for i in range(3)}
    for step in range(3)
  ]
  labels = ledger_table.labels(run)
  curves = draw(rows, labels)['share of the update']
  assert set(curves) == {
    'generic: early',
    'generic: late',
    'generic: a man',
  }
  # Terms are in the order of their schedules.
  assert [curves[f'generic: {name}'][0][1] for name in ('early', 'late')] == [
    2.0,
    1.0,
  ]
