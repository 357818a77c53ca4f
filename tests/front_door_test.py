"""`import mmdist`: its names, what they cost, and what a typing error says."""

import ast
import pathlib
import subprocess
import sys

import pytest

import mmdist

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_python(program: str) -> str:
  """Returns what a program prints in a process of its own."""
  done = subprocess.run(
    [sys.executable, '-c', program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip()


def test_every_public_name_is_there():
  for name in mmdist.__all__:
    assert getattr(mmdist, name) is not None, name


def test_the_names_for_type_checkers_are_those_that_are_loaded():
  tree = ast.parse((ROOT / 'mmdist' / '__init__.py').read_text())
  (block,) = [node for node in tree.body if isinstance(node, ast.If)]
  typed = {a.asname or a.name for node in block.body for a in node.names}
  assert typed == set(mmdist._PUBLIC)
  assert {*typed, '__version__'} == set(mmdist.__all__)


@pytest.mark.parametrize(
  'name, nearest',
  [('optimise', 'optimize'), ('Runconfig', 'RunConfig'), ('open', 'open_run')],
)
def test_an_unknown_name_suggests_the_nearest(name, nearest):
  with pytest.raises(AttributeError, match=f"did you mean '{nearest}'"):
    getattr(mmdist, name)


def test_the_front_door_loads_neither_jax_nor_torch_nor_ray():
  heavy = ('jax', 'torch', 'ray', 'orbax', 'diffusers', 'skimage')
  program = (
    'import sys, mmdist; mmdist.avatar("a man"); mmdist.RunConfig(); '
    'mmdist.Prior(); mmdist.errors.UserError; '
    f'print([m for m in {heavy} if m in sys.modules])'
  )
  assert run_python(program) == '[]'


@pytest.mark.parametrize(
  'module', ['mmdist.run.recipes', 'mmdist.api.function_prior']
)
def test_what_an_actor_unpickles_brings_no_jax(module):
  program = (
    f'import sys, {module}; '
    'print([m for m in ("jax", "torch") if m in sys.modules])'
  )
  assert run_python(program) == '[]'


@pytest.mark.slow
def test_the_learners_process_never_loads_torch():
  program = (
    'import sys, mmdist; mmdist.optimize; mmdist.open_run; '
    'print("torch" in sys.modules)'
  )
  assert run_python(program) == 'False'
