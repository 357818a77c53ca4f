"""`--config=EXPERIMENT:preset` and `--config.a.b=value`.

`ml_collections.config_flags` parses the values. This module lets flags come in
any order, finds the experiment, and has all fields checked beforehand, so that
whoever mistypes one reads a line with the nearest name.
"""

from collections.abc import Callable, Sequence
import dataclasses
import re
from typing import Any

from absl import flags
from ml_collections import config_flags

from mmdist.config import experiments
from mmdist.config import schema
from mmdist.config import validation
from mmdist.core import errors

from . import concepts_parser
from . import config_fields
from . import loras_parser

_NAME = 'config'
_CONFIG = re.compile(rf'--?{_NAME}(=.*)?', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Config:
  """What a command's --config may be.

  Attributes:
    default: the experiment that is run if none is given.
    kind: dataclass that the experiments return.
    check: raises UserError for a configuration that cannot be run.
  """

  default: str = 'generate'
  kind: type = schema.RunConfig
  check: Callable[[Any], None] = validation.validate


def define_for_help(wanted: Config, values: flags.FlagValues) -> None:
  """Defines --config as help shows it, with every field."""
  text = config_fields.describe(wanted.default, wanted.kind)
  flags.DEFINE_string(_NAME, None, text, flag_values=values)


def define(
  wanted: Config, words: Sequence[str], values: flags.FlagValues
) -> list[str]:
  """Loads the experiment and defines a flag for every field that is set.

  Args:
    wanted: what --config may be.
    words: of the command line, without the program's name.
    values: where the flags are defined; `values['config'].value` is the
      configuration once they are parsed.

  Returns:
    The words without --config.

  Raises:
    UserError, FileNotFoundError: in one line; an experiment, preset or field
      is unknown.
  """
  experiment, rest = _split(words, wanted.default)
  config = experiments.load(experiment, wanted.kind)
  config_fields.check_overrides(rest, config)
  concepts_parser.register()
  loras_parser.register()
  config_flags.DEFINE_config_dataclass(
    _NAME, config, flag_values=values, sys_argv=rest
  )
  return rest


def _split(words: Sequence[str], default: str) -> tuple[str, list[str]]:
  """Returns the experiment, which is the last one given, and the rest."""
  experiment, rest = default, []
  remaining = iter(words)
  for word in remaining:
    if _CONFIG.fullmatch(word):
      _, equals, experiment = word.partition('=')
      if not equals:
        experiment = next(remaining, '')
      if not experiment or experiment.startswith('-'):
        raise errors.UserError('--config is empty; expected an experiment.')
    else:
      rest.append(word)
  return experiment, rest
