"""Finds experiments by name or by path, and loads them.

An experiment is a Python file that defines `get_config(preset)`; loading it
runs the file. Those of mmdist lie in `experiments/` of a checkout, or in a
folder of that name inside the installed package. An experiment is named as
'generate', 'generate:no_normal', 'experiments/generate.py:no_normal' or
'my/own.py:preset'.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
import contextlib
import inspect
import os
import pathlib
import runpy
from typing import Any

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import names

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def find_folder() -> pathlib.Path:
  """Returns the folder of the experiments that come with mmdist."""
  installed = _PACKAGE / 'experiments'
  return installed if installed.is_dir() else _PACKAGE.parent / 'experiments'


def list_names() -> dict[str, str]:
  """Returns the name of every experiment and the first line about it."""
  found = {}
  for path in sorted(find_folder().glob('[!_]*.py')):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    if 'get_config' in functions:
      found[path.stem] = (ast.get_docstring(tree) or '').partition('\n')[0]
  return found


def find(name: str) -> tuple[pathlib.Path, str]:
  """Returns the file and the preset that a name stands for.

  Args:
    name: as the module's docstring lists them. 'experiments/NAME.py' is found
      from every folder.

  Raises:
    FileNotFoundError: there is no such file; names the nearest.
  """
  local_paths.check(name)
  text, _, preset = name.partition(':')
  path = local_paths.local(text)
  is_path = text.endswith('.py') or path.name != text
  candidates = [path] if is_path else [find_folder() / f'{text}.py']
  if path.parts[:-1] == ('experiments',):
    candidates.append(find_folder() / path.name)
  for candidate in candidates:
    if candidate.is_file():
      return candidate, preset
  known = list(list_names())
  if is_path:
    known = sorted(str(p) for p in path.parent.glob('[!_]*.py')) + known
  raise FileNotFoundError(
    names.unknown('experiment', text, known, 'Experiments')
  )


def load(name: str, kind: type = schema.RunConfig) -> Any:
  """Returns the configuration that an experiment's preset stands for.

  Args:
    name: see `find`.
    kind: the dataclass that it has to be.

  Raises:
    FileNotFoundError: there is no such file; names the nearest.
    UserError: the preset is unknown, or the file defines no such config.
  """
  path, preset = find(name)
  config = call(path, 'get_config', *([preset] if preset else []))
  if not isinstance(config, kind):
    raise errors.UserError(
      f'get_config of {path} returned {type(config).__name__}; expected '
      f'{kind.__name__}.'
    )
  return config


def call(
  path: str | os.PathLike, name: str, *given: Any, takes: str = 'preset'
) -> Any:
  """Runs a Python file of the person's own, and a function that it defines.

  An error inside of either keeps its traceback.

  Args:
    path: of the file.
    name: of the function.
    *given: what the function is called with.
    takes: how a person would write that.

  Raises:
    UserError: in one line; there is no such function, it cannot be called so,
      or the file ends the program.
  """
  function = run_file(path).get(name)
  if not callable(function):
    raise errors.UserError(f'{path} defines no {name}({takes}).')
  _check_takes(function, given, f'{name} of {path}', takes)
  with _going_on(path):
    return function(*given)


def _check_takes(
  function: Callable, given: Sequence[Any], what: str, takes: str
) -> None:
  try:
    signature = inspect.signature(function)
  except (TypeError, ValueError):  # One of C may have none.
    return
  try:
    signature.bind(*given)
  except TypeError as error:
    raise errors.UserError(
      f'{what} takes {signature} ({error}); expected ({takes})'
      f'{"" if given else ", with a default"}.'
    ) from error


@contextlib.contextmanager
def _going_on(path: str | os.PathLike) -> Iterator[None]:
  """Turns an exit inside the block into an error.

  A file that ends the program with exit code 0 would else look like success.
  """
  try:
    yield
  except SystemExit as end:
    raise errors.UserError(
      f'{path} ends the program with exit({end.code!r}); expected a file that '
      'returns, so take the exit out, or raise an error instead.'
    ) from end


def run_file(path: str | os.PathLike) -> dict[str, Any]:
  """Runs a Python file of the person's own; returns the names it defines.

  Raises:
    UserError: the file ends the program.
  """
  with _going_on(path):
    return runpy.run_path(str(path))


def load_module(stem: str) -> dict[str, Any]:
  """Returns the names that `STEM.py` among mmdist's experiments defines.

  For files beside the experiments that are none, such as the studies, and for
  an experiment that reads another one's presets.
  """
  return run_file(find_folder() / f'{stem}.py')
