"""BUILD is the law: its arrows are the imports, and keep to the design.

BUILD's syntax is a subset of Python's, so `ast` reads it here and Bazel need
not be installed.
"""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOTS = ('mmdist', 'launchers', 'experiments')

# Heavy libraries and the only places that may know them.
LIBRARY_HOMES = {
  'torch': (
    'mmdist/priors/',
    'mmdist/evaluation/',
    'mmdist/training/',
    'experiments/benchmarks/',
  ),
  'diffusers': (
    'mmdist/priors/',
    'mmdist/evaluation/',
    'experiments/benchmarks/',
  ),
  'transformers': (
    'mmdist/priors/',
    'mmdist/evaluation/',
    'experiments/benchmarks/',
  ),
  'peft': ('mmdist/priors/', 'mmdist/evaluation/'),
  'ray': (
    'mmdist/distribution/',
    'mmdist/sweeps/',
    'experiments/benchmarks/',
  ),
  'grain': ('mmdist/data/', 'mmdist/heads/'),
  'orbax': ('mmdist/run/checkpointing.py', 'mmdist/run/checkpoint_files.py'),
  'optax': ('mmdist/learner/',),
  'absl': ('launchers/', 'experiments/benchmarks/', 'experiments/assets.py'),
  'ml_collections': ('launchers/',),
  'viser': ('mmdist/results/live_server.py',),
  'wandb': ('mmdist/run/wandb_log.py',),
}

CORE = {'messages', 'config', 'arrays'}  # mmdist/core/ and mmdist/config/.
LEARNING = CORE | {'cameras', 'nerf', 'learner', 'objectives', 'distribution'}
# A room, and all that it may import; docs/architecture.md draws it.
ALLOWED_ARROWS = {
  'messages': set(),
  'config': {'messages'},
  'arrays': {'messages'},
  'cameras': CORE,
  'nerf': CORE | {'cameras'},
  'data': CORE | {'cameras'},
  'heads': CORE | {'cameras', 'data'},
  'priors': {'messages'},
  'prior_training': {'messages', 'priors'},
  'objectives': CORE | {'cameras'},
  'distribution': CORE,
  'learner': CORE | {'cameras', 'nerf'},
  'run': LEARNING | {'priors'},
  'loop': LEARNING | {'run'},
  'results': CORE | {'cameras', 'nerf', 'objectives', 'run'},
  'evaluation': CORE
  | {'cameras', 'data', 'nerf', 'heads', 'objectives', 'priors', 'run'},
  'training': LEARNING
  | {'data', 'heads', 'priors', 'prior_training', 'results', 'evaluation'}
  | {'run'},
  'sweeps': LEARNING | {'api', 'evaluation', 'results', 'run'},
  'trajectories': LEARNING | {'api', 'results', 'run'},
}


def _list_of(node: ast.expr) -> list[str]:
  """Reads a list of strings, or a glob() of them as existing files."""
  if not isinstance(node, ast.Call):
    return ast.literal_eval(node)
  fields = {keyword.arg: keyword.value for keyword in node.keywords}
  excluded = ast.literal_eval(fields['exclude']) if fields else []
  patterns = ast.literal_eval(node.args[0])
  paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
  names = {str(path.relative_to(ROOT)) for path in paths}
  return sorted(names - set(excluded))


@functools.cache
def read_targets() -> dict[str, tuple[set[str], set[str]]]:
  """Returns target -> (files, declared deps without the leading colon)."""
  targets = {}
  for node in ast.parse((ROOT / 'BUILD').read_text()).body:
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and call.func.id == 'py_library':
      fields = {keyword.arg: keyword.value for keyword in call.keywords}
      deps = [dep.removeprefix(':') for dep in _list_of(fields['deps'])]
      files = {p for p in _list_of(fields['srcs']) if (ROOT / p).exists()}
      targets[ast.literal_eval(fields['name'])] = (files, set(deps))
  return targets


@functools.cache
def imported_names(path: str) -> set[str]:
  """Returns the dotted names a file imports, at any depth of nesting."""
  names = set()
  for node in ast.walk(ast.parse((ROOT / path).read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      parts = path.split('/')[: -node.level] if node.level else []
      origin = '.'.join([*parts, *filter(None, [node.module])])
      names |= {f'{origin}.{alias.name}' for alias in node.names}
  return names


@functools.cache
def file_of(name: str) -> str | None:
  """Returns the project file that a dotted name comes from, if any does."""
  parts = name.split('.')
  for length in range(len(parts), 0, -1):
    stem = '/'.join(parts[:length])
    for path in (f'{stem}.py', f'{stem}/__init__.py'):
      if (ROOT / path).exists():
        return path
  return None


def label_of(name: str) -> str | None:
  """Returns what BUILD calls the origin of a dotted name; None for stdlib."""
  top = name.split('.')[0]
  if top in ROOTS:
    path = file_of(name)
    owners = [t for t, (files, _) in read_targets().items() if path in files]
    return owners[0] if owners else f'{name}, which no target owns'
  return None if top in sys.stdlib_module_names else f'@pip//{top}'


def project_files() -> list[str]:
  paths = [path for root in ROOTS for path in (ROOT / root).rglob('*.py')]
  return sorted(str(path.relative_to(ROOT)) for path in paths)


@pytest.mark.parametrize('path', project_files())
def test_every_file_belongs_to_one_target(path):
  owners = [t for t, (files, _) in read_targets().items() if path in files]
  assert len(owners) == 1, f'{path} belongs to {owners or "no target"}'


@pytest.mark.parametrize('target', read_targets())
def test_the_declared_deps_are_the_real_imports(target):
  files, declared = read_targets()[target]
  imported = {label_of(name) for path in files for name in imported_names(path)}
  imported -= {None, target}
  assert not imported - declared, 'imported, and not in deps'
  assert not declared - imported, 'in deps, and never imported'


@pytest.mark.parametrize('target', ALLOWED_ARROWS)
def test_arrows_point_the_way_of_the_design(target):
  _, declared = read_targets()[target]
  rooms = {dep for dep in declared if not dep.startswith('@')}
  assert rooms <= ALLOWED_ARROWS[target]


def test_no_room_imports_a_launcher_or_an_experiment():
  for target in ALLOWED_ARROWS:
    _, declared = read_targets()[target]
    assert not declared & {'launchers', 'experiments'}, target


@pytest.mark.parametrize('library', LIBRARY_HOMES)
def test_a_heavy_library_stays_in_its_rooms(library):
  users = [
    path
    for path in project_files()
    if any(name.split('.')[0] == library for name in imported_names(path))
  ]
  strays = [p for p in users if not p.startswith(LIBRARY_HOMES[library])]
  assert not strays


def test_the_arrows_have_no_cycle():
  visited = []

  def visit(target, above):
    assert target not in above, ' -> '.join([*above, target])
    if target not in visited:
      for dep in read_targets()[target][1]:
        if not dep.startswith('@'):
          visit(dep, [*above, target])
      visited.append(target)

  for target in read_targets():
    visit(target, [])


def test_a_launcher_is_short():
  long = {
    path.name: len(path.read_text().splitlines())
    for path in (ROOT / 'launchers').rglob('*.py')
  }
  assert not {name: lines for name, lines in long.items() if lines > 120}


# What an actor's process imports, and what a learner's does.
@pytest.mark.parametrize(
  'absent, modules',
  [
    (
      'jax',
      [
        'mmdist.run.recipes',
        'mmdist.distribution.actor',
        'mmdist.api.function_prior',
        'mmdist.priors.prior',
      ],
    ),
    ('torch', ['mmdist.loop', 'mmdist.api.optimization']),
  ],
)
def test_neither_process_imports_the_library_of_the_other(absent, modules):
  # In a process of its own: here it may have been imported by another test.
  program = '; '.join(
    ['import sys']
    + [f'import {m}; print({m!r}, {absent!r} in sys.modules)' for m in modules]
  )
  said = subprocess.run(
    [sys.executable, '-c', program],
    check=True,
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert said.stdout.splitlines() == [f'{module} False' for module in modules]
