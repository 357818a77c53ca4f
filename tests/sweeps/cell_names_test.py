import datetime

import pytest

from mmdist.core import errors
from mmdist.core import names
from mmdist.sweeps import cell_names


@pytest.mark.parametrize(
  'values, name',
  [
    ({'happy': 0.5, 'sad': 1.0}, 'happy_0.5-sad_1'),
    ({'learner.learning_rate': 1e-3}, 'learning_rate_0.001'),
    ({'happy': 0.1 + 0.2}, 'happy_0.30000000000000004'),
    ({'happy': -1}, 'happy_-1'),
    ({}, 'cell'),
  ],
)
def test_a_name_says_short_values_in_full(values, name):
  assert cell_names.make(values) == name


@pytest.mark.parametrize(
  'value',
  ['a man, old', 'x' * 99, 'prior.png', 'A.JSON', datetime.date(2001, 1, 1)],
)
def test_every_name_that_is_made_can_be_used(value):
  name = cell_names.make({'prompt': value, 'priors.normal.lora': value})
  names.check_file_name('a cell', name)
  cell_names.check(name)


def test_values_that_are_cut_have_different_names():
  made = {cell_names.make({'prompt': 'x' * 99 + end}) for end in 'ab'}
  assert len(made) == 2


@pytest.mark.parametrize('name', ['a.log', 'a.json', 'a.png', 'a.PNG', '.log'])
def test_a_name_of_a_file_beside_another_cell_is_refused(name):
  with pytest.raises(errors.UserError, match='ends in none of .log') as caught:
    cell_names.check(name)
  assert '\n' not in str(caught.value)


def test_a_name_may_have_points():
  cell_names.check('happy_0.5.png2')


@pytest.mark.parametrize('kind', [errors.UserError, FileNotFoundError])
def test_an_error_opens_with_the_name_of_its_cell(kind):
  with pytest.raises(kind, match="^cell 'a': it is not there$"):
    with cell_names.naming('a'):
      raise kind('it is not there')


def test_a_mistake_in_a_program_stays_what_it_is():
  with pytest.raises(KeyError):
    with cell_names.naming('a'):
      raise KeyError('a')
