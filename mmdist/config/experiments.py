"""Finds experiments by name or by path, and loads them.

An experiment is a Python file that defines `get_config(preset)`; loading it
runs the file. Those of mmdist lie in `experiments/` of a checkout, or in a
folder of that name inside the installed package. An experiment is named as
'generate', 'generate:no_normal', 'experiments/generate.py:no_normal' or
'my/own.py:preset'.
"""

import ast
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
  get_config = run_file(path).get('get_config')
  if get_config is None:
    raise errors.UserError(f'{path} defines no get_config(preset).')
  config = get_config(preset) if preset else get_config()
  if not isinstance(config, kind):
    raise errors.UserError(
      f'get_config of {path} returned {type(config).__name__}; expected '
      f'{kind.__name__}.'
    )
  return config


def run_file(path: str | os.PathLike) -> dict[str, Any]:
  """Runs a Python file of the person's own; returns the names it defines."""
  return runpy.run_path(str(path))


def load_module(stem: str) -> dict[str, Any]:
  """Returns the names that `STEM.py` among mmdist's experiments defines.

  For files beside the experiments that are none, such as the studies, and for
  an experiment that reads another one's presets.
  """
  return run_file(find_folder() / f'{stem}.py')
