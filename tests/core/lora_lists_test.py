"""A weighted list of LoRAs is read as people write it, or refused by name."""

import pathlib
import time

import pytest

from mmdist.core import lora_lists

TWO = (('a b.safetensors', 0.8), ('/c/d.safetensors', -0.4))


@pytest.mark.parametrize(
  'text, expected',
  [
    ("[('a b.safetensors', 0.8), ('/c/d.safetensors', -0.4)]", TWO),
    ('(("a b.safetensors", 0.8), ("/c/d.safetensors", -.4))', TWO),
    ('[(a b.safetensors, 0.8), (/c/d.safetensors, -0.4)]', TWO),
    ('[(a b.safetensors,0.8),(/c/d.safetensors,-4e-1),]', TWO),
    ("['a.safetensors', ('b.safetensors', 2)]",
     (('a.safetensors', 1.0), ('b.safetensors', 2.0))),
    ("[['a.safetensors', 1]]", (('a.safetensors', 1.0),)),
    ("('a.safetensors', 0.5)", (('a.safetensors', 0.5),)),
    ('(a.safetensors, 0.5)', (('a.safetensors', 0.5),)),
    ('a.safetensors', (('a.safetensors', 1.0),)),
    # As browsers name what is downloaded twice.
    ('[(hat (1).safetensors, 0.8)]', (('hat (1).safetensors', 0.8),)),
    ("[('hat (1).safetensors', 0.8), (b.safetensors, -1)]",
     (('hat (1).safetensors', 0.8), ('b.safetensors', -1.0))),
    ('[(h),a#t.safetensors, 1e3,), (\u65e5 \u672c.safetensors, 0)]',
     (('h),a#t.safetensors', 1000.0), ('\u65e5 \u672c.safetensors', 0.0))),
    ("'~/my loras/a.safetensors'", (('~/my loras/a.safetensors', 1.0),)),
    ('', ()),
    ('[]', ()),
    ('()', ()),
  ],
)  # fmt: skip
def test_what_people_write_is_read(text, expected):
  assert lora_lists.parse(text) == expected
  assert lora_lists.normalise(expected) == expected
  # As JSON keeps it.
  assert lora_lists.normalise([list(pair) for pair in expected]) == expected


@pytest.mark.parametrize(
  'text, words',
  [
    ("[('a', 'strong')]", "the weight 'strong' for 'a'; expected a finite"),
    ('[(a.safetensors, strong)]', "the weight 'strong' for 'a.safetensors'"),
    ("[('a', None)]", 'the weight None'),
    ("[('a', True)]", 'the weight True'),
    ('[(a, nan)]', 'the weight nan'),
    ('[(a, inf), (b, 1)]', 'the weight inf'),
    ("[('a', 1e999)]", 'the weight inf'),
    ("[('a', '1e3')]", "the weight '1e3'"),
    (f"[('a', {10**400})]", f'the weight 1{39 * "0"} for'),
    ("[('a', 1, 2)]", 'has'),
    ("[(0.8, 'a')]", 'has'),
    ("[('', 0.8)]", 'has'),
    ('[(a, 0.8), b]', 'is'),
    ('[(a 0.8)]', 'is'),
    ('[0.8]', 'has'),
    ("[('a', 0.8)", 'is'),
    ('[' * 9999, 'is'),
  ],
)
def test_what_is_no_list_is_one_line(text, words):
  with pytest.raises(ValueError) as caught:
    lora_lists.parse(text, 'priors.generic.loras')
  message = str(caught.value)
  assert message.startswith(f'priors.generic.loras {words}') or (
    f'loras has {words}' in message
  )
  assert '\n' not in message and 'expected' in message


def test_paths_of_python_are_files():
  path = pathlib.Path('my loras') / 'a.safetensors'
  expected = ((str(path), 1.0),)
  for given in (path, [path], (path, 1.0), [(path, 1)]):
    assert lora_lists.normalise(given) == expected
  with pytest.raises(ValueError, match='expected'):
    lora_lists.normalise([b'a.safetensors'])


def test_a_long_text_that_is_no_list_is_refused_at_once():
  for text in ('[(' + 9999 * ' ' + 'x', 5000 * '(' + ',', '[(a,' + 9999 * ' '):
    begin = time.monotonic()
    with pytest.raises(ValueError, match='expected'):
      lora_lists.parse(text)
    assert time.monotonic() - begin < 5
