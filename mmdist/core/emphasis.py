"""Emphasis in prompts, as people write it: `(red:1.3) hair`.

The marks are those of the web interfaces: `(x)` is x with a weight of 1.1,
`(x:1.3)` with one of 1.3, `[x]` with 1/1.1; they nest, and `\\(` is a bracket
that is meant. A single short word in square brackets, such as `[v]`, is an
identifier token here, and stays as it is. `BREAK` begins a new chunk. What the
weights do to embeddings is `mmdist.priors.prompt_encoder`'s.
"""

from collections.abc import Sequence
import dataclasses
import math
import re

from mmdist.core import errors

STEP = 1.1  # What one pair of brackets is worth.
MAX_WEIGHT = 10.0

_IDENTIFIER = re.compile(r'\[\w{1,4}\]')
_TOKEN = re.compile(
  r'\\[()\[\]\\]'  # A bracket that is meant.
  r'|\[\w{1,4}\]'  # An identifier token.
  r'|<[^<>]*>'
  r'|:\s*[^()\[\]:]*\)'  # The end of (x:1.3).
  r'|[()\[\]]'
  r'|\bBREAK\b'
  r'|[^\\()\[\]<:|B]+|.',
  re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Emphasised:
  """A text without its marks.

  Attributes:
    text: what is read.
    weights: one per character of `text`.
    breaks: characters of `text` at which a new chunk begins.
  """

  text: str
  weights: tuple[float, ...]
  breaks: tuple[int, ...] = ()

  @property
  def is_plain(self) -> bool:
    """Whether all weights are 1, and nothing begins anew."""
    return not self.breaks and all(weight == 1 for weight in self.weights)


def parse(text: str) -> Emphasised:
  """Reads a text with marks; each space and each newline is one space.

  Raises:
    UserError: in one line; a bracket that is not closed or not opened, a weight
      that is no number, or a mark that means something else elsewhere.
  """
  if not _has_marks(text):
    return Emphasised(text, (1.0,) * len(text))
  pieces: list[tuple[str, float]] = []  # Text and weight.
  opened: list[tuple[str, int]] = []  # Bracket, and the first piece in it.
  breaks: list[int] = []

  def close(bracket: str, factor: float) -> None:
    if not opened or opened[-1][0] != bracket:
      raise _wrong(text, f"'{_END[bracket]}' closes nothing")
    _, first = opened.pop()
    pieces[first:] = [(piece, factor * w) for piece, w in pieces[first:]]

  for token in _TOKEN.findall(text):
    if token in ('(', '['):
      opened.append((token, len(pieces)))
    elif token == ')':
      close('(', STEP)
    elif token == ']':
      close('[', 1 / STEP)
    elif token[0] == ':' and token[-1] == ')' and _is_open(opened, '('):
      close('(', _weight(text, token))
    elif token[0] == '<' and token[-1] == '>' and len(token) > 1:
      raise _mark(text, token)
    elif token == 'BREAK':
      breaks.append(sum(len(piece) for piece, _ in pieces))
    elif _is_open(opened, '[') and token in (':', '|'):
      raise _wrong(
        text, f"'{token}' in square brackets would change the text on the way"
      )
    else:
      is_meant = token[0] == '\\' and len(token) == 2
      pieces.append((token[1] if is_meant else token, 1.0))
  if opened:
    raise _wrong(text, f"'{opened[-1][0]}' is not closed")
  return _tidy(pieces, breaks)


_END = {'(': ')', '[': ']'}


def _has_marks(text: str) -> bool:
  return any(mark in _IDENTIFIER.sub('', text) for mark in '()[]<\\') or (
    'BREAK' in text.split()
  )


def _is_open(opened: Sequence[tuple[str, int]], bracket: str) -> bool:
  return bool(opened) and opened[-1][0] == bracket


def _weight(text: str, token: str) -> float:
  written = token[1:-1].strip()
  try:
    weight = float(written)
  except ValueError:
    weight = math.nan
  if not 0 <= weight <= MAX_WEIGHT:
    raise _wrong(
      text, f"the weight is '{written}'", f'a number from 0 to {MAX_WEIGHT:g}'
    )
  return weight


def _wrong(
  text: str,
  what: str,
  expected: str = 'marks such as (red:1.3), or \\( for a bracket that is meant',
) -> errors.UserError:
  shown = text if len(text) <= 80 else f'{text[:77]}...'
  return errors.UserError(f'prompt {shown!r}: {what}; expected {expected}.')


def _mark(text: str, mark: str) -> errors.UserError:
  kind = mark[1:].partition(':')[0].strip().lower()
  if kind in ('lora', 'lyco', 'hypernet'):
    return _wrong(
      text,
      f'{mark} names a file of weights, and a prompt cannot load one',
      'the file in the LoRAs of the prior (priors.NAME)',
    )
  return _wrong(text, f'{mark} is no mark that is known')


def _tidy(
  pieces: Sequence[tuple[str, float]], breaks: Sequence[int]
) -> Emphasised:
  """Joins pieces; spaces in a row become one, those at the ends none."""
  joined = ''.join(piece for piece, _ in pieces)
  weights = [weight for piece, weight in pieces for _ in piece]
  kept = [
    place
    for place, letter in enumerate(joined)
    if not letter.isspace()
    or (place and not joined[place - 1].isspace() and joined[place:].strip())
  ]
  kept = kept[1:] if kept and joined[kept[0]].isspace() else kept
  return Emphasised(
    ''.join(' ' if joined[k].isspace() else joined[k] for k in kept),
    tuple(weights[k] for k in kept),
    tuple(sum(k < place for k in kept) for place in breaks),
  )


def plain(text: str) -> str:
  """Returns a text without its marks; see `parse`."""
  return parse(text).text
