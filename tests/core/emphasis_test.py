"""Marks of emphasis in prompts."""

import re

import pytest

from mmdist.core import emphasis


def spans(text: str) -> list[tuple[str, float]]:
  """Returns runs of characters with one weight."""
  asked = emphasis.parse(text)
  found = []
  for letter, weight in zip(asked.text, asked.weights, strict=True):
    weight = round(weight, 6)
    if found and found[-1][1] == weight:
      found[-1] = (found[-1][0] + letter, weight)
    else:
      found.append((letter, weight))
  return found


@pytest.mark.parametrize(
  'text, expected',
  [
    ('a red hat', [('a red hat', 1)]),
    ('a (red:1.3) hat', [('a ', 1), ('red', 1.3), (' hat', 1)]),
    ('a (red: 1.3 ) hat', [('a ', 1), ('red', 1.3), (' hat', 1)]),
    ('(red)', [('red', 1.1)]),
    ('((red))', [('red', 1.21)]),
    ('[a blurry] hat', [('a blurry', round(1 / 1.1, 6)), (' hat', 1)]),
    ('[blurry]', [('blurry', round(1 / 1.1, 6))]),
    ('(a (red:2) hat:1.5)', [('a ', 1.5), ('red', 3), (' hat', 1.5)]),
    # Identifier tokens are no marks, beside marks neither.
    ('a [v] (man)', [('a [v] ', 1), ('man', 1.1)]),
    ('a [w] face map', [('a [w] face map', 1)]),
    (r'a \(red\) hat', [('a (red) hat', 1)]),
    ('(a\n\n  red)  hat', [('a red', 1.1), (' hat', 1)]),
    ('a: man, 3:4 <3', [('a: man, 3:4 <3', 1)]),
    ('a (3:4:1.2)', [('a ', 1), ('3:4', 1.2)]),
    ('()', []),
  ],
)
def test_marks_become_weights(text, expected):
  assert spans(text) == expected


@pytest.mark.parametrize(
  'text, what',
  [
    ('a (red hat', "'(' is not closed"),
    ('a (red:1.3 hat', "'(' is not closed"),
    ('a [red hat', "'[' is not closed"),
    ('a red) hat', "')' closes nothing"),
    ('a (red] hat', "']' closes nothing"),
    ('(red:much)', "the weight is 'much'; expected a number from 0 to 10"),
    ('(red:nan)', "the weight is 'nan'"),
    ('(red:-1)', "the weight is '-1'"),
    ('(red:1e9)', "the weight is '1e9'"),
    ('(red:)', "the weight is ''"),
    ('[a cat:a dog:0.5]', "':' in square brackets"),
    ('[cat|dog]', "'|' in square brackets"),
    ('<lora:hat:0.8> a man', '<lora:hat:0.8> names a file of weights'),
    ('a man <embedding>', '<embedding> is no mark that is known'),
  ],
)
def test_a_mark_that_cannot_be_read_is_one_line(text, what):
  with pytest.raises(ValueError, match=re.escape(what)) as error:
    emphasis.parse(text)
  assert '\n' not in str(error.value)


def test_a_break_is_where_it_was_written():
  asked = emphasis.parse('a (red:2) hat BREAK a man')
  assert asked.text == 'a red hat a man'
  assert asked.text[asked.breaks[0] :].strip() == 'a man'
  assert not asked.is_plain
  assert emphasis.parse('a BREAKING man').breaks == ()


def test_a_text_without_marks_is_left_as_it_is():
  for text in ('a  man', ' a man', 'a\nman', ''):
    assert emphasis.parse(text).text == text
    assert emphasis.parse(text).is_plain
