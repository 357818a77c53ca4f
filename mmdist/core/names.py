"""What to say when a name is not one of those that are known."""

from collections.abc import Iterable
import difflib


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
  """Raises ValueError unless `name` is one of the known names."""
  known = tuple(known)
  if name not in known:
    hint = did_you_mean(name, known) or '.'
    raise ValueError(
      f"{what} is '{name}'{hint} Expected one of: {', '.join(known)}."
    )


def unknown_preset(preset: str, known: Iterable[str]) -> ValueError:
  """Returns what `get_config(preset)` raises for a preset it has not got."""
  return ValueError(unknown('preset', preset, known, 'Presets'))
