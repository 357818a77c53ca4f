"""Concepts of a run as the value of one flag; `register` makes it known."""

import ast
import typing
from typing import Any

from absl import flags
from ml_collections import config_flags

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors


class ConceptsParser(flags.ArgumentParser):
  """Parses `--config.concepts="[('a joker', 1), ('green hair', -0.5)]"`.

  A third item of a concept may name the priors that it asks, one or a tuple of
  them. A concept may also be a dict of fields: {'text': 'a joker', 'name':
  'joker'}.
  """

  def parse(self, argument: Any) -> list[schema.ConceptConfig]:
    if isinstance(argument, list):  # The field's default.
      return argument
    try:
      return [_concept(item) for item in ast.literal_eval(argument)]
    except errors.UserError:  # It names the field of a concept that is wrong.
      raise
    except (SyntaxError, TypeError, ValueError) as error:
      raise errors.UserError(
        f"concepts are {argument!r}; expected [('text', weight), ...] or "
        "[{'text': ..., 'weight': ..., 'name': ...}, ...]."
      ) from error

  def flag_type(self) -> str:
    return 'concepts'


def _concept(item: Any) -> schema.ConceptConfig:
  if isinstance(item, dict):
    return serialization.from_dict(item, schema.ConceptConfig, 'a concept')
  text, weight, *rest = item
  if not isinstance(text, str) or len(rest) > 1:
    raise ValueError(item)
  asked = rest[0] if rest else ()
  priors = (asked,) if isinstance(asked, str) else tuple(asked)
  return schema.ConceptConfig(text, float(weight), priors)


def register() -> None:
  """Lets `config_flags` parse the field."""
  kind = typing.get_type_hints(schema.RunConfig)['concepts']
  config_flags.register_flag_parser_for_type(kind, ConceptsParser())
