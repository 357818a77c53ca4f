"""Slips of a command line that absl takes for what they are not.

A flag that was copied from a web page begins with an en dash, or has quotes
that no shell knows. A flag without a value takes the next flag as its value.
A flag that is given twice has its last value, and the other is dropped.
"""

from collections.abc import Sequence
import re
import warnings

from absl import flags

from mmdist.core import errors

# Hyphens, dashes and minus signs that are not the one on a keyboard.
_DASHES = '\u2010-\u2015\u2212\ufe58\ufe63\uff0d'
# Spaces that no shell splits words at, and marks that nobody sees.
_SPACES = '\u00a0\u2000-\u200d\u202f\u2060\u3000\ufeff'
_LIKE_A_FLAG = re.compile(rf'([{_DASHES}{_SPACES}-]+)([A-Za-z].*)', re.DOTALL)
_OPENING = '\u2018\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\uff02'
_CLOSING = '\u2018\u2019\u201c\u201d\u00bb\uff02'
_FLAG = re.compile(r'--?([A-Za-z][\w.\[\]-]*)')


def check_pasted(words: Sequence[str]) -> None:
  """Raises UserError, in one line, for dashes and quotes of a web page.

  Args:
    words: of a command line, without the program's name.
  """
  for number, word in enumerate(words):
    flag = _LIKE_A_FLAG.fullmatch(word)
    if flag and not flag[1].isascii():
      raise errors.UserError(
        f"'{word}' does not begin with the hyphens of a flag but with others "
        'that look like them, as web pages have them; type '
        f"'--{flag[2]}' anew."
      )
    name, equals, value = word.partition('=')
    value = value if equals and _FLAG.fullmatch(name) else word
    if not value.startswith(tuple(_OPENING)):
      continue
    rest = [value[1:], *words[number + 1 :]]
    if any(one.endswith(tuple(_CLOSING)) for one in rest):
      raise errors.UserError(
        f"'{word}' has the quotation mark {value[0]} of a text, which a shell "
        'does not know; type \' or " around the value.'
      )


def check_values(words: Sequence[str], values: flags.FlagValues) -> None:
  """Raises UserError, in one line, for a flag that would take another's place.

  Args:
    words: of a command line, without the program's name.
    values: the flags that are known.
  """
  for word, following in zip(words, words[1:]):
    flag = _FLAG.fullmatch(word)
    if not flag or flag[1] not in values or values[flag[1]].boolean:
      continue
    if re.match(r'--?[A-Za-z]', following):
      raise errors.UserError(
        f"{word} has no value, since '{following}' follows it; expected "
        f'{word}=VALUE.'
      )


def warn_of_twice(words: Sequence[str], values: flags.FlagValues) -> None:
  """Warns of a flag that is given two values, of which one is dropped.

  Args:
    words: of the command line alone: one may well replace what a file of flags
      says.
    values: the flags that are known.
  """
  given: dict[str, str] = {}
  for word, following in zip(words, [*words[1:], '']):
    name, equals, value = word.partition('=')
    flag = _FLAG.fullmatch(name)
    if not flag or flag[1] not in values or values[flag[1]].boolean:
      continue
    if isinstance(values[flag[1]], flags.MultiFlag):  # Each adds an item.
      continue
    value = value if equals else following
    before = given.setdefault(flag[1], value)
    if before != value:
      given[flag[1]] = value
      warnings.warn(
        f"--{flag[1]} is given twice, '{before}' and '{value}'; the last one "
        'is taken.',
        stacklevel=2,
      )
