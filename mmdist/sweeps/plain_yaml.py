"""YAML as a person writes it: plain values, or one line about what is wrong.

Nothing in it is run, whatever its tags ask for. A field may stand only once in
a mapping: YAML forbids a second one, and PyYAML would silently take the last.
"""

import pathlib
from typing import Any

import yaml

from mmdist.core import errors

_MERGE = 'tag:yaml.org,2002:merge'
# What PyYAML raises where a value is none of its type, such as the dates
# 2001-99-99 and `!!timestamp soon`, `!!bool maybe`, and `!!int ''`.
_NO_VALUE = (ArithmeticError, AttributeError, LookupError, ValueError)


class _Loader(yaml.SafeLoader):
  """PyYAML's safe loader, which names the place of every mistake."""

  def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
    node = super().compose_mapping_node(anchor)
    seen = set()
    # Here and not where values are made: there, what `<<` merges into a
    # mapping stands in it beside the mapping's own fields, which may override.
    for key, _ in node.value:
      if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
        if key.value in seen:
          raise _error(f'{key.value!r} is given twice', key)
        seen.add(key.value)
    return node

  def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
    try:
      return super().construct_object(node, deep)
    except _NO_VALUE as error:
      kind = node.tag.rpartition(':')[2]
      raise _error(f'{str(node.value)[:60]!r} is no {kind}', node) from error


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
  return yaml.constructor.ConstructorError(
    problem=problem, problem_mark=node.start_mark
  )


def read(file: pathlib.Path) -> Any:
  """Returns what a YAML file holds.

  Raises:
    UserError: in one line, with the place; it is no YAML, holds a value that is
      none of its type, or has a field twice.
  """
  try:
    loader = _Loader(file.read_text(encoding='utf-8'))
    return loader.get_single_data()
  except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
    line = ' '.join(str(error).split())
    raise errors.UserError(f'{file} is no YAML: {line}') from error
