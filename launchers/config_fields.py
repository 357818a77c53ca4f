"""Which fields of a configuration flags may set, checked one by one.

`config_flags` fails on a mistyped path with a traceback. Here the path is
walked beforehand, so that a person reads one line with the nearest name.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

from ml_collections.config_flags import config_path

from mmdist.config import experiments
from mmdist.config import serialization
from mmdist.core import errors

_OVERRIDE = re.compile(r'--?(?:no)?config\.([^=]+)(?:=.*)?', re.DOTALL)


def describe(default: str, kind: type) -> str:
  """Returns the help of --config: every experiment and every field.

  Args:
    default: the experiment that is run if none is given.
    kind: dataclass that experiments return, which has the fields.
  """
  known = experiments.list_names()
  width = max(map(len, known), default=0)
  lines = [f'{name:{width}}  {about}' for name, about in known.items()]
  leaves = serialization.flatten(kind())
  fields = [f'--config.{path}={value!r}' for path, value in leaves.items()]
  return '\n'.join(
    [
      'An experiment, as NAME, NAME:PRESET, PATH.py or PATH.py:PRESET '
      f'(default {default}). Experiments:',
      *lines,
      'Fields of a configuration, here with their defaults:',
      *fields,
    ]
  )


def check_overrides(words: Sequence[str], config: Any) -> None:
  """Raises UserError, in one line, for a field that cannot be set.

  Args:
    words: of the command line.
    config: what an experiment returned.
  """
  for word in words:
    override = _OVERRIDE.fullmatch(word)
    if override:
      _check_path(config, override[1])


def _check_path(config: Any, path: str) -> None:
  """Walks a path such as priors.normal.weight or concepts[0].text."""
  try:
    parts = config_path.split(path)
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"'--config.{path}' is no path to a field."
    ) from error
  done = ''
  for part in parts:
    known = _children(config)
    if part not in known:
      raise errors.UserError(
        serialization.unknown_field(
          serialization.join(done, part), str(part), map(str, known)
        )
      )
    config = known[part]
    done = serialization.join(done, part)
  if dataclasses.is_dataclass(config) or isinstance(config, dict):
    fields = ', '.join(map(str, _children(config)))
    raise errors.UserError(
      f"'{done}' is not one value; expected --config.{done}.FIELD with one "
      f'of: {fields}.'
    )


def _children(config: Any) -> dict[Any, Any]:
  """Returns what may follow a path, by its name or number."""
  if dataclasses.is_dataclass(config):
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
  if isinstance(config, dict):
    return dict(config)
  if isinstance(config, list):
    return dict(enumerate(config))
  return {}
