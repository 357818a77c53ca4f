"""Every public function says what it takes and what it returns.

`make lint` checks with mypy that the types are right; here it is only checked
that they are there, without mypy.
"""

import ast
from collections.abc import Iterator
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'mmdist').rglob('*.py'))
REPRESENTATION = ('Representation', 'ConditionalNerf')

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(
  body: list[ast.stmt], in_class: bool = False
) -> Iterator[tuple[Function, bool]]:
  """Yields functions, and whether they are methods; `__init__` is public."""
  for node in body:
    if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
      yield from public_functions(node.body, in_class=True)
    elif isinstance(node, Function):
      if not node.name.startswith('_') or node.name.endswith('__'):
        yield node, in_class


def parameters(function: Function, is_method: bool) -> list[ast.arg]:
  """Returns what a caller gives; `self` and `cls` are left out."""
  given = function.args
  names = [*given.posonlyargs, *given.args]
  if is_method and names and names[0].arg in ('self', 'cls'):
    names = names[1:]
  return [
    *names,
    *given.kwonlyargs,
    *filter(None, (given.vararg, given.kwarg)),
  ]


@pytest.mark.parametrize(
  'path', FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_public_functions_are_annotated(path):
  tree = ast.parse(path.read_text(encoding='utf-8'))
  missing = []
  for function, is_method in public_functions(tree.body):
    missing += [
      f'{function.name}({parameter.arg})'
      for parameter in parameters(function, is_method)
      if parameter.annotation is None
    ]
    # mypy lets `__init__` leave out that it returns None, and so does this.
    if function.returns is None and function.name != '__init__':
      missing.append(f'{function.name} -> ?')
  assert not missing


def test_a_representation_is_always_typed_as_one():
  wrong = [
    f'{path.relative_to(ROOT)}: {node.name}'
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
    if isinstance(node, Function)
    for parameter in parameters(node, is_method=False)
    if parameter.arg == 'representation'
    and not any(
      name in ast.unparse(parameter.annotation or ast.Constant(''))
      for name in REPRESENTATION
    )
  ]
  assert not wrong


def test_the_types_are_shipped():
  assert (ROOT / 'mmdist' / 'py.typed').is_file()
  assert '  py.typed\n' in (ROOT / 'setup.cfg').read_text(encoding='utf-8')
