import pytest

from mmdist.config import schema
from mmdist.core import errors
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
    ('generic', 'a portrait of a happy man', 2.0),
    ('generic', 'a portrait of a sad man', -1.0),
    ('normal', 'a portrait of a happy man', 1.0),
  ]


def test_a_prior_that_reports_nothing_has_its_whole_answer_as_one_concept():
  rows = [{'step': 0, 'cotangent_norm/generic': 4.0, 'share/generic': 1.0}]
  (row,) = ledger_table.make(rows, make_run())
  assert (row['norm'], row['share']) == (4.0, 1.0)
  several = make_run(('a happy man', 1.0), ('a sad man', 1.0))
  assert ledger_table.make(rows, several)['norm'] == [None, None]


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
  assert ledger_table.make(rows, several)['proxy_loss'] == [1.0, 3.0]


def test_curves_are_called_by_names_and_else_by_texts():
  run = make_run(('a happy man', 1.0, (), 'happy'), ('a sad man', 1.0, (), ''))
  assert ledger_table.labels(run) == {
    'generic/0': 'generic: happy',
    'generic/1': 'generic: a sad man',
  }


def test_a_run_that_asks_nothing_is_one_line():
  with pytest.raises(errors.UserError, match='no concept has a positive'):
    ledger_table.make([], make_run(('a happy man', -1.0)))
