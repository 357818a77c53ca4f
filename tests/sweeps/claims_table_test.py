"""Verdicts and their table, from made-up cells."""

import pytest

from mmdist.sweeps import claims
from mmdist.sweeps import claims_table

CELLS = {'plain': ('plain-0', 'plain-1'), 'loud': ('loud-0', 'loud-1')}


def rows(plain, loud, figure='saturation'):
  """Rows of finished cells with these values of one figure."""
  values = dict(zip(CELLS['plain'] + CELLS['loud'], plain + loud))
  return [
    {'name': name, 'state': 'finished', 'step': 9, 'error': '', figure: value}
    for name, value in values.items()
  ]


def comparison(expected='up', figure='saturation'):
  claim = claims.Claim('loud', figure, expected, 'Fig. 1')
  return claims.Comparison('loudness', 'plain', CELLS, (claim,))


def verdict(made, expected='up', figure='saturation'):
  (found,) = claims_table.compare(comparison(expected, figure), made)
  return found


@pytest.mark.parametrize(
  'plain, loud, found',
  [
    # Exact in binary: the spread is 0.25 about 0.625.
    ((0.5, 0.75), (0.75, 1.0), 'same'),
    ((0.5, 0.75), (0.75, 1.03125), 'up'),
    ((0.5, 0.75), (0.25, 0.5), 'same'),
    ((0.5, 0.75), (0.25, 0.46875), 'down'),
    ((0.75, 0.5), (0.25, 0.46875), 'down'),
    # Seeds that agree leave no room.
    ((0.5, 0.5), (0.5, 0.5), 'same'),
    ((0.5, 0.5), (0.5, 0.5625), 'up'),
    # Its own seeds may lie apart.
    ((0.5, 0.75), (0.0, 1.25), 'same'),
  ],
)
@pytest.mark.parametrize('expected', claims.EXPECTED)
def test_a_figure_moves_if_it_leaves_the_spread_of_the_reference(
  plain, loud, found, expected
):
  answer = verdict(rows(plain, loud), expected)
  assert answer.found == found and not answer.missing
  assert answer.agrees == ('yes' if found == expected else 'no')


@pytest.mark.parametrize('place', range(4))
@pytest.mark.parametrize(
  'changes, why',
  [
    ({'state': 'new', 'step': None}, 'is not made'),
    ({'state': 'begun', 'step': 5}, 'is at step 5'),
    ({'state': 'begun', 'step': None}, 'is not made'),
    ({'state': 'failed', 'step': 9}, 'failed'),
    ({'saturation': None}, 'has no saturation'),
    ({'saturation': float('nan')}, 'has no saturation'),
  ],
)
def test_a_missing_cell_is_said_and_nothing_is_guessed(place, changes, why):
  made = rows((0.5, 0.75), (2.0, 2.0))
  made[place] |= changes
  answer = verdict(made)
  assert answer.missing == (f'{made[place]["name"]} {why}',)
  assert answer.found == answer.agrees == ''
  text = claims_table.to_markdown(comparison(), made)
  assert f'not known: {made[place]["name"]} {why} |' in text
  assert 'Of 1 claims 0 agree, 0 do not, and 1 have no verdict.' in text
  # What is whole is shown.
  assert ('2 (2, 2)' in text) == (place < 2)
  assert ('0.625 (0.5, 0.75)' in text) == (place >= 2)


def test_a_column_that_no_row_has_is_missing_of_every_cell():
  made = rows((0.5, 0.75), (2.0, 2.0))
  assert verdict(made, figure='detail').missing == tuple(
    f'{name} has no detail' for name in CELLS['plain'] + CELLS['loud']
  )


def test_the_table_has_a_row_for_each_claim():
  text = claims_table.to_markdown(
    comparison(), rows((0.5, 0.75), (0.875, 1.125))
  )
  lines = text.splitlines()
  assert lines[0] == '# loudness'
  assert lines[-1] == (
    '| `loud` | Fig. 1 | `saturation` | 0.625 (0.5, 0.75) | 1 (0.875, 1.125) '
    '| up | up | yes |'
  )
  heads, rule, row = (line.count('|') for line in lines[-3:])
  assert heads == rule == row == 9
  assert 'Of 1 claims 1 agree, 0 do not, and 0 have no verdict.' in text
