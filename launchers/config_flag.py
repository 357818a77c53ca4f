"""`--config=experiments/X.py:preset` and `--config.a.b=value`.

`ml_collections.config_flags` does the parsing. This module lets flags come in
any order, and looks at all of them beforehand, so that whoever mistypes one
reads a line with the nearest name instead of a traceback.
"""

import ast
from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import re
import runpy
import typing
from typing import Any

from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import validation
from mmdist.core import names

DEFAULT_EXPERIMENT = 'experiments/generate.py'
# Flags belong to the launcher that defines them, so that --help shows them.
flags.disclaim_key_flags()

_OVERRIDE = re.compile(r'--?(?:no)?config\.([^=]+)(?:=.*)?', re.DOTALL)
_CONFIG = re.compile(r'--?config(=.*)?', re.DOTALL)


class ConceptsParser(flags.ArgumentParser):
  """Parses `--config.concepts="[('a joker', 1), ('green hair', -0.5)]"`.

  A third item of a concept may be the tuple of the priors that it asks.
  """

  def parse(self, argument: Any) -> list[schema.ConceptConfig]:
    if isinstance(argument, list):  # The field's default.
      return argument
    try:
      return [_concept(item) for item in ast.literal_eval(argument)]
    except (SyntaxError, TypeError, ValueError) as error:
      raise ValueError(
        f"concepts are {argument!r}; expected [('text', weight), ...]."
      ) from error

  def flag_type(self) -> str:
    return 'concepts'


def _concept(item) -> schema.ConceptConfig:
  text, weight, *priors = item
  if not isinstance(text, str) or len(priors) > 1:
    raise ValueError(item)
  return schema.ConceptConfig(text, float(weight), tuple(*priors))


def define_config(
  default: str = DEFAULT_EXPERIMENT,
  flag_values: flags.FlagValues = flags.FLAGS,
  kind: type = schema.RunConfig,
) -> flags.FlagHolder:
  """Defines --config; read it with `load` after `parse_flags`.

  Args:
    default: the experiment that is run if none is given.
    flag_values: other than absl's only in tests.
    kind: dataclass that the experiments return.
  """
  concepts = typing.get_type_hints(schema.RunConfig)['concepts']
  config_flags.register_flag_parser_for_type(concepts, ConceptsParser())
  argv: list[str] = []  # Filled by `parse_flags`, which puts it in order.
  holder = config_flags.DEFINE_config_file(
    'config',
    None,
    describe_fields(default, kind),
    flag_values,
    sys_argv=argv,
  )
  flag = flag_values['config']
  flag.default_experiment = default
  flag.kind = kind
  flag.ordered_argv = argv
  return holder


def describe_fields(default: str, kind: type = schema.RunConfig) -> str:
  """Returns the help text: how to choose an experiment, and every field."""
  leaves = serialization.flatten(kind())
  lines = [f'--config.{path}={value!r}' for path, value in leaves.items()]
  return (
    f'experiments/NAME.py or experiments/NAME.py:PRESET (default {default}). '
    'Fields, here with their defaults:\n' + '\n'.join(lines)
  )


def load(holder: flags.FlagHolder) -> schema.RunConfig:
  """Returns the checked configuration; ValueError in one line."""
  config = holder.value
  validation.validate(config)
  return config


def parse_flags(
  argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS
) -> list[str]:
  """Parses the command line, --config and its fields in any order.

  Returns:
    What is no flag, the program's name first.

  Raises:
    ValueError, FileNotFoundError: in one line; an experiment, preset, field
      or flag is unknown, or a value is of the wrong type.
  """
  argv = list(argv)
  if 'config' in flag_values and not asks_for_help(argv):
    flag = flag_values['config']
    argv = order(argv, flag.default_experiment)
    check_overrides(argv, flag.kind)
    flag.ordered_argv[:] = argv
  try:
    return flag_values(argv)
  except flags.Error as error:
    raise ValueError(' '.join(str(error).split())) from error


def asks_for_help(argv: Sequence[str]) -> bool:
  """Returns whether --help, --helpfull or the like is among the words."""
  return any(re.fullmatch(r'--?(help\w*|\?)', a) for a in argv[1:])


def order(argv: Sequence[str], default: str) -> list[str]:
  """Returns argv with --config=EXPERIMENT first, the rest in its order.

  `config_flags` sets fields in the experiment that it has met by then.
  """
  experiment, rest = default, []
  words = iter(argv[1:])
  for word in words:
    if word == '--':
      rest += [word, *words]
    elif _CONFIG.fullmatch(word):
      experiment = _value_of(word, words)
    else:
      rest.append(word)
  return [argv[0], f'--config={experiment}', *rest]


def _value_of(word: str, words) -> str:
  _, equals, value = word.partition('=')
  if not equals:
    value = next(words, '')
  if not value:
    raise ValueError('--config is empty; expected experiments/NAME.py.')
  return value


def check_overrides(argv: Sequence[str], kind: type = schema.RunConfig) -> None:
  """Raises one-line errors for what `config_flags` would trip over."""
  config = load_experiment(argv[1].partition('=')[2], kind)
  for word in argv[2:]:
    if word == '--':
      return
    override = _OVERRIDE.fullmatch(word)
    if override:
      _check_path(config, override[1])


def load_experiment(name: str, kind: type = schema.RunConfig) -> Any:
  """Returns the config of 'experiments/NAME.py:PRESET'.

  Raises:
    FileNotFoundError: there is no such file; names the nearest.
    ValueError: the preset is unknown, or the file defines no such config.
  """
  path, _, preset = name.partition(':')
  if not pathlib.Path(path).is_file():
    folder = pathlib.Path(path).parent
    known = sorted(str(p) for p in folder.glob('[!_]*.py'))
    raise FileNotFoundError(
      names.unknown('experiment', path, known, 'Experiments')
    )
  get_config = runpy.run_path(path).get('get_config')
  if get_config is None:
    raise ValueError(f'{path} defines no get_config(preset).')
  config = get_config(preset) if preset else get_config()
  if not isinstance(config, kind):
    raise ValueError(
      f'get_config of {path} returned {type(config).__name__}; expected '
      f'{kind.__name__}.'
    )
  return config


def _check_path(config: Any, path: str) -> None:
  """Walks a path such as priors.normal.weight or concepts[0].text."""
  try:
    parts = config_path.split(path)
  except (TypeError, ValueError) as error:
    raise ValueError(f"'--config.{path}' is no path to a field.") from error
  done = ''
  for part in parts:
    known = _children(config)
    if part not in known:
      raise ValueError(
        serialization.unknown_field(
          serialization.join(done, part), str(part), map(str, known)
        )
      )
    config = known[part]()
    done = serialization.join(done, part)
  if dataclasses.is_dataclass(config) or isinstance(config, dict):
    fields = ', '.join(map(str, _children(config)))
    raise ValueError(
      f"'{done}' is not one value; expected --config.{done}.FIELD with one "
      f'of: {fields}.'
    )


def _children(config: Any) -> dict[Any, Callable]:
  """Returns what may follow a path: its name or number, and how to get it."""
  if dataclasses.is_dataclass(config):
    known = {
      f.name: getattr(config, f.name) for f in dataclasses.fields(config)
    }
  elif isinstance(config, dict):
    known = dict(config)
  elif isinstance(config, list):
    known = dict(enumerate(config))
  else:
    known = {}
  return {name: (lambda value=value: value) for name, value in known.items()}
