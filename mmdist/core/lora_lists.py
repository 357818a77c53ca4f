"""A weighted list of LoRAs, as people write it: [(FILE, 0.8), (FILE2, 0.4)]."""

import ast
from collections.abc import Iterable
import os
import re
from typing import Any

from mmdist.core import errors
from mmdist.core import plain_numbers

Loras = tuple[tuple[str, float], ...]

EXAMPLE = "[('hat.safetensors', 0.8), ...]"
_EXPECTED = (
  "expected [('FILE', weight), ...], such as [('hat.safetensors', 0.8)]"
)
# The files may have no quotes around them, since shells take them away.
_LIST = re.compile(r'\s*[\[(](.*)[\])]\s*', re.DOTALL)
# A file may itself have brackets and commas in its name, as in 'hat (1)', so an
# item ends where the list does or another one begins.
_ITEM = re.compile(r'\((.*?),([^(),]*),?\s*\)\s*(?=,?\s*\(|,?\s*$)', re.DOTALL)


def normalise(value: Any, field: str = 'loras') -> Loras:
  """Returns a list of LoRAs as it is kept; a file alone has weight 1.

  Args:
    value: a file, or a list or tuple of files and of (file, weight).
    field: what the error calls it.

  Raises:
    UserError: in one line; an item is neither, or a weight is not a number.
  """
  if isinstance(value, os.PathLike):
    value = os.fspath(value)
  if isinstance(value, str):
    value = (value,) if value else ()
  if not isinstance(value, list | tuple):
    raise errors.UserError(f'{field} is {str(value)[:80]!r}; {_EXPECTED}.')
  # A pair alone is a list of one.
  if (
    len(value) == 2
    and isinstance(value[0], str | os.PathLike)
    and plain_numbers.is_finite(value[1])
  ):
    value = (value,)
  return tuple(_pair(item, field) for item in value)


def _pair(item: Any, field: str) -> tuple[str, float]:
  if isinstance(item, str | os.PathLike):
    item = item, 1.0
  if (
    not isinstance(item, list | tuple)
    or len(item) != 2
    or not isinstance(item[0], str | os.PathLike)
    or not isinstance(path := os.fspath(item[0]), str)
    or not path.strip()
  ):
    raise errors.UserError(f'{field} has {str(item)[:80]!r}; {_EXPECTED}.')
  weight = item[1]
  if not plain_numbers.is_finite(weight):
    raise errors.UserError(
      f"{field} has the weight {repr(weight)[:40]} for '{path}'; expected a "
      'finite number, such as 0.8.'
    )
  return path, float(weight)


def parse(text: str, field: str = 'loras') -> Loras:
  """Reads a list as a command line has it, with quotes around files or without.

  Raises:
    UserError: in one line, as `normalise`.
  """
  text = text.strip()
  if not text.startswith(('[', '(')):
    # A file alone, which may stand between quotes.
    return normalise(text.strip('\'"'), field)
  try:
    return normalise(ast.literal_eval(text), field)
  except errors.UserError:
    raise
  except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
    return normalise(list(_unquoted(text, field)), field)


def _unquoted(text: str, field: str) -> Iterable[tuple[str, Any]]:
  inner = _LIST.fullmatch(text)
  items = inner[1] if inner and '(' in inner[1] else text
  if not _ITEM.search(items) or _ITEM.sub('', items).strip(' ,\n\t'):
    raise errors.UserError(f'{field} is {text[:80]!r}; {_EXPECTED}.')
  for path, weight in _ITEM.findall(items):
    path, weight = path.strip().strip('\'"'), weight.strip()
    try:
      yield path, float(weight)
    except ValueError:
      yield path, weight
