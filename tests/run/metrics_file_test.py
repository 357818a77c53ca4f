"""Metrics are read while they are written, and after a run was killed."""

import json
import math

import pytest

from mmdist.core import errors
from mmdist.run import metrics_file


def write_lines(path, *lines):
  path.write_text('\n'.join(lines) + '\n')
  return path


def test_metrics_are_read_line_by_line(tmp_path):
  rows = [{'step': 0, 'loss': 1.0}, {'step': 1, 'loss': 0.5}]
  path = write_lines(tmp_path / 'm.jsonl', *map(json.dumps, rows))
  assert metrics_file.read(path) == rows


def test_what_was_not_finite_is_nan(tmp_path):
  path = write_lines(tmp_path / 'm.jsonl', '{"step": 0, "loss": null}')
  (row,) = metrics_file.read(path)
  assert math.isnan(row['loss'])


def test_without_a_file_there_are_no_steps(tmp_path):
  assert metrics_file.read(tmp_path / 'm.jsonl') == []


@pytest.mark.parametrize('torn', ['{"step": 1, "lo', '{"a": {"b": 1}', '\0\0'])
def test_the_torn_last_line_of_a_killed_run_is_left_out(tmp_path, torn):
  path = tmp_path / 'm.jsonl'
  path.write_text('{"step": 0}\n' + torn)
  assert metrics_file.read(path) == [{'step': 0}]


def test_a_damaged_line_is_named(tmp_path):
  path = write_lines(tmp_path / 'm.jsonl', '{"step": 0}', 'nonsense', '{}')
  with pytest.raises(errors.UserError, match='m.jsonl line 2 is not JSON'):
    metrics_file.read(path)


@pytest.mark.parametrize(
  'line, error',
  [
    ('[' * 100_000, r'line 2 is not JSON \(too many brackets\)'),
    ('{"step": "one"}', "line 2: step is 'one'; expected a number"),
    ('{"step": true}', 'line 2: step is True; expected a number'),
    ('{"step": 1, "step_seconds": "x"}', "step_seconds is 'x'; expected"),
    ('{"step": 1, "step_seconds": 1' + 9999 * '0' + '}', 'is inf; expected'),
  ],
)
def test_what_the_loop_never_writes_is_one_line(tmp_path, line, error):
  path = write_lines(tmp_path / 'm.jsonl', '{"step": 0}', line, '{}')
  with pytest.raises(errors.UserError, match=error) as caught:
    metrics_file.read(path)
  assert '\n' not in str(caught.value)
  assert len(str(caught.value)) < 300


def test_other_numbers_of_a_line_may_be_anything(tmp_path):
  path = write_lines(tmp_path / 'm.jsonl', '{"step": 0, "mood": "good"}')
  assert metrics_file.read(path) == [{'step': 0, 'mood': 'good'}]


@pytest.mark.parametrize(
  'torn',
  [
    '{"step": 2',
    '{"a": {"b": 1}\n',
    '{}\n',
    '3\n',
    '\0\0\n',
    '\xff\xfe}\n',
    '{"step": "2"}\n',
    '[' * 100_000 + '\n',
  ],
)
def test_lines_that_are_not_whole_go(tmp_path, torn):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1}\n' + torn, encoding='latin-1')
  metrics_file.drop_steps(path, 3)
  assert path.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize('content', ['', '{"step": 3}\n'])
def test_a_file_without_earlier_steps_becomes_empty(tmp_path, content):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(content)
  metrics_file.drop_steps(path, 3)
  assert path.read_text() == ''
