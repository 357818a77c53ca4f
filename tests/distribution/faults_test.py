import pickle

import pytest

from mmdist.distribution import faults


@pytest.mark.parametrize('kind', [faults.PriorLost, faults.PriorFailed])
def test_a_fault_survives_pickling(kind):
  fault = kind('normal', 12, 'ValueError: no\nway')
  copy = pickle.loads(pickle.dumps(fault))
  assert type(copy) is kind
  assert (copy.prior, copy.step, copy.cause) == ('normal', 12, fault.cause)
  assert str(copy) == str(fault)


def test_a_fault_is_one_line_with_prior_and_step():
  lost = faults.PriorLost('normal', 12, 'its process\n  died')
  assert str(lost) == "prior 'normal' was lost at step 12: its process died"
  failed = faults.PriorFailed('normal', None, 'ValueError: no')
  assert str(failed) == "prior 'normal' failed: ValueError: no"


def test_an_error_without_words_is_named():
  assert faults.describe(KeyError()) == 'KeyError'
  assert faults.describe(ValueError('a\nb')) == 'ValueError: a b'


def test_a_budget_forgives_what_was_long_ago():
  now = [0.0]
  budget = faults.Budget(2, 10.0, clock=lambda: now[0])
  lost = faults.PriorLost('normal', 3, 'its process died')
  for now[0] in (0.0, 6.0, 12.0, 18.0):
    budget.spend(lost)
  now[0] = 20.0
  with pytest.raises(faults.PriorLost) as error:
    budget.spend(lost)
  assert (error.value.prior, error.value.step) == ('normal', 3)
  assert 'loss number 3 within 10 s, and 2 are allowed' in str(error.value)
