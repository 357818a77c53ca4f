import pytest

from mmdist.config import schema
from mmdist.core import errors
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.objectives import ledger
from mmdist.results import ledger_table


def make_run(*concepts, **priors):
  run = schema.RunConfig(
    prompt='a portrait of a man',
    concepts=[schema.ConceptConfig(*one) for one in concepts],
  )
  run.priors = priors or {'generic': schema.PriorConfig()}
  return run


ROWS = [
  {'step': 0, 'cotangent_norm/generic/0': 1.0, 'cosine/generic/0': 0.5},
  {'step': 1, 'rejected': 1.0},
  {'step': 2, 'cotangent_norm/generic/0': 3.0, 'cosine/generic/0': -0.25},
  {
    'step': 3,
    'cotangent_norm/generic/0': 5.0,
    'cosine/generic/0': float('nan'),
    'proxy_loss/generic': 2.0,
  },
]


def test_means_are_over_the_steps_that_have_the_number():
  (row,) = ledger_table.make(ROWS, make_run())
  assert row['norm'] == 3.0 and row['steps'] == 3
  assert (row['cosine'], row['conflict']) == (0.125, 0.5)
  assert row['proxy_loss'] == 2.0
  assert row['share'] is None and row['seconds'] is None


def test_a_window_is_a_slice_of_the_steps():
  run = make_run()
  assert ledger_table.make(ROWS, run, -2)['norm'] == [4.0]
  assert ledger_table.make(ROWS, run, 0, 3)['norm'] == [2.0]
  assert ledger_table.make(ROWS, run, 1, 2)['norm'] == [None]
  assert ledger_table.make([], run)['steps'] == [0]


def test_a_window_is_of_steps_also_where_the_first_lines_are_gone():
  run = make_run()
  assert ledger_table.make(ROWS[2:], run, 2, 3)['norm'] == [3.0]
  assert ledger_table.make(ROWS[2:], run, -1)['norm'] == [5.0]
  assert ledger_table.make(ROWS[2:], run, 0, 2)['norm'] == [None]


def test_there_is_a_row_for_each_prior_and_concept_it_is_asked_for():
  run = make_run(
    ('a portrait of a happy man', 1.0),
    ('a portrait of a sad man', -0.5, ('generic',)),
    generic=schema.PriorConfig(weight=2.0),
    normal=schema.PriorConfig(directory='normal', channel='normal'),
  )
  table = ledger_table.make([], run)
  assert list(zip(table['prior'], table['concept'], table['weight'])) == [
    ('generic', None, None),
    ('generic', 'a portrait of a happy man', 2.0),
    ('generic', 'a portrait of a sad man', -1.0),
    ('normal', 'a portrait of a happy man', 1.0),
  ]


def test_a_prior_that_reports_nothing_has_its_whole_answer_as_one_concept():
  rows = [{'step': 0, 'cotangent_norm/generic': 4.0, 'share/generic': 1.0}]
  (row,) = ledger_table.make(rows, make_run())
  assert (row['norm'], row['share']) == (4.0, 1.0)
  several = make_run(('a happy man', 1.0), ('a sad man', 1.0))
  assert ledger_table.make(rows, several)['norm'] == [4.0, None, None]


def test_a_concepts_own_proxy_loss_goes_before_the_priors():
  rows = [
    {
      'step': 0,
      'proxy_loss/generic': 2.0,
      'proxy_loss/generic/0': 1.0,
      'proxy_loss/generic/1': 3.0,
    }
  ]
  several = make_run(('a happy man', 1.0), ('a sad man', 1.0))
  assert ledger_table.make(rows, several)['proxy_loss'] == [2.0, 1.0, 3.0]


def fading(num_steps=5):
  run = make_run(
    ('a man', 2.0, (), '', 'linear(1, 0)'), ('a woman', 0.5, (), '', '')
  )
  run.num_steps = num_steps
  return run


def scheduled_rows(run, steps):
  """Returns what a run says of the weights at these steps."""
  objective = binding.bind_config(run)
  return [
    {'step': s} | ledger.scheduled_weights(objective, s, run.num_steps)
    for s in steps
  ]


def test_a_scheduled_weight_is_its_mean_over_the_window():
  run = fading()
  rows = scheduled_rows(run, range(5))
  assert [row['weight/generic/0'] for row in rows] == [2, 1.5, 1, 0.5, 0]
  assert all('weight/generic/1' not in row for row in rows)
  table = ledger_table.make(rows, run)
  assert table['schedule'] == [None, 'linear(1, 0)', None]
  assert table['weight'] == [None, 1.0, 0.5]
  assert ledger_table.make(rows, run, 0, 2)['weight'] == [None, 1.75, 0.5]
  assert ledger_table.make(rows, run, -1)['weight'] == [None, 0.0, 0.5]
  assert ledger_table.make([], run)['weight'] == [None, None, 0.5]


def test_a_run_of_one_step_has_the_weight_that_the_priors_are_asked():
  run = fading(num_steps=1)
  assert ledger_table.make(scheduled_rows(run, [0]), run)['weight'][1] == 2.0
  assert concept_lib.weighted_texts(run)[0] == ('a man', 2.0)


def test_without_schedules_there_is_no_such_column():
  assert 'schedule' not in ledger_table.make([], make_run()).columns


def test_curves_are_called_by_names_and_else_by_texts():
  run = make_run(('a happy man', 1.0, (), 'happy'), ('a sad man', 1.0, (), ''))
  assert ledger_table.labels(run) == {
    'generic/0': 'generic: happy',
    'generic/1': 'generic: a sad man',
  }


def test_labels_tell_all_concepts_of_a_prior_apart():
  run = make_run(
    ('a man', 1.0, (), '', 'linear(1, 0)'),
    ('a  man', 1.0, (), 'late', 'linear(0, 1)'),
    ('a man', 1.0),
    ('late', 1.0, (), '', 'linear(0, 1)'),
    ('a woman', 1.0, ('generic',), 'she'),
    (' a woman', 1.0, (), 'her'),
  )
  run.priors['normal'] = schema.PriorConfig()
  assert ledger_table.labels(run) == {
    'generic/0': 'generic: a man, constant',
    'generic/1': 'generic: late, linear(0, 1), a man',
    'generic/2': 'generic: a man, linear(1, 0)',
    # Here both ask the same, so they are one concept.
    'generic/3': 'generic: her + she',
    'generic/4': 'generic: late, linear(0, 1), late',
    'normal/0': 'normal: a man, constant',
    'normal/1': 'normal: late, linear(0, 1), a man',
    'normal/2': 'normal: a man, linear(1, 0)',
    'normal/3': 'normal: her',
    'normal/4': 'normal: late, linear(0, 1), late',
  }


def test_a_prior_with_one_concept_is_called_as_this_one_is():
  assert ledger_table.labels(make_run(('a man', 1.0, (), 'he'))) == {
    'generic': 'generic: he',
    'generic/0': 'generic: he',
  }


def test_a_run_that_asks_nothing_is_one_line():
  with pytest.raises(errors.UserError, match='no concept has a positive'):
    ledger_table.make([], make_run(('a happy man', -1.0)))
