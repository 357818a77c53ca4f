"""Which names there may be, and what to say of those that are not known."""

from collections.abc import Iterable
import difflib
import re

from mmdist.core import errors

# What is safe as the name of a file on every system, in a shell, in a page.
_FILE_NAME = re.compile(r'[A-Za-z0-9._-]{1,64}')


def did_you_mean(name: str, known: Iterable[str]) -> str:
  """Returns "; did you mean 'x'?" for the nearest known name, else ''."""
  nearest = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
  return f"; did you mean '{nearest[0]}'?" if nearest else ''


def unknown(what: str, name: str, known: Iterable[str], plural: str) -> str:
  """Returns one line: what is unknown, the nearest name, every name.

  Args:
    what: what the name should have named, e.g. 'preset'.
    name: the name that was given.
    known: the names that exist.
    plural: opens the list of them, e.g. 'Presets'.
  """
  known = tuple(known)
  hint = did_you_mean(name, known) or '.'
  return (
    f"unknown {what} '{name}'{hint} {plural}: {', '.join(known) or 'none'}."
  )


def check_choice(what: str, name: str, known: Iterable[str]) -> None:
  """Raises UserError unless `name` is one of the known names."""
  known = tuple(known)
  if name not in known:
    hint = did_you_mean(name, known) or '.'
    raise errors.UserError(
      f"{what} is '{name}'{hint} Expected one of: {', '.join(known)}."
    )


def check_file_name(what: str, name: str) -> None:
  """Raises UserError unless `name` can name a file and never be a path."""
  if not _FILE_NAME.fullmatch(name) or name in ('.', '..'):
    raise errors.UserError(
      f'{what} is called {name!r}; expected up to 64 of A-Z, a-z, 0-9, ".", '
      '"_" and "-", and neither "." nor "..".'
    )


def check_text(what: str, text: str) -> None:
  """Raises UserError, in one line, if a text is not Unicode.

  A word of a command line that its terminal's encoding cannot read is such a
  text, and so is half of a pair of UTF-16. No file can hold it.
  """
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise errors.UserError(
      f'{what} has {text[error.start]!a} after {text[: error.start][-20:]!r}, '
      'which is no letter of Unicode; type it in a terminal whose encoding is '
      'UTF-8, or set PYTHONUTF8=1.'
    ) from error


def unknown_preset(preset: str, known: Iterable[str]) -> errors.UserError:
  """Returns what `get_config(preset)` raises for a preset it does not know."""
  return errors.UserError(unknown('preset', preset, known, 'Presets'))
