import ast
import json
import math
import pathlib

import pytest

from mmdist.core import strict_json

ROOT = pathlib.Path(__file__).resolve().parents[2]


def refuse(word):
  raise AssertionError(word)


@pytest.mark.parametrize(
  'value, expected',
  [
    (math.nan, None),
    (-math.inf, None),
    ({'a': [1.5, math.inf, (math.nan, 'x')]}, {'a': [1.5, None, [None, 'x']]}),
    ([True, None, 3, 0.1], [True, None, 3, 0.1]),
  ],
)
def test_what_is_not_finite_is_null(value, expected):
  text = strict_json.dumps(value)
  assert json.loads(text, parse_constant=refuse) == expected


def test_finite_values_are_what_they_are_without_it():
  value = {'b': [0.1, 1e300, -0.0], 'a': {'c': '\u00e9'}}
  assert strict_json.dumps(value, sort_keys=True) == json.dumps(
    value, sort_keys=True
  )


def test_metrics_come_back():
  row = {'step': 3, 'loss': math.nan, 'norm': 0.5}
  again = strict_json.read_metrics(strict_json.dumps(row))
  assert math.isnan(again.pop('loss')) and again == {'step': 3, 'norm': 0.5}


@pytest.mark.parametrize(
  'path',
  [
    str(path.relative_to(ROOT))
    for room in ('mmdist', 'launchers', 'experiments')
    for path in sorted((ROOT / room).rglob('*.py'))
    if path.name != 'strict_json.py'
  ],
)
def test_nothing_else_writes_json(path):
  tree = ast.parse((ROOT / path).read_text())
  found = [
    node.lineno
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute)
    and node.attr in ('dump', 'dumps')
    and isinstance(node.value, ast.Name)
    and node.value.id == 'json'
  ]
  assert not found, 'strict_json.dumps writes what every program reads'


def test_a_whole_number_beyond_all_floats_is_infinite():
  row = strict_json.read_metrics('{"a": ' + '1' * 9999 + ', "b": 12}')
  assert row == {'a': math.inf, 'b': 12} and isinstance(row['b'], int)
