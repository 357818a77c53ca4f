"""What the repository holds: sizes, paths, lengths of files, docstrings."""

import ast
import configparser
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOTS = ('mmdist', 'launchers', 'experiments', 'tests')
MAX_FILE_BYTES = 16 * 2**20
MAX_LINES = 400
# A path that only one person's machine has. Written in two halves, or this
# file would find itself.
MACHINE_PATH = re.compile(r'(?<![\w./])/(?:home|root|Users|work)' + '/[a-zA-Z]')


def tracked_files() -> list[pathlib.Path]:
  """Returns git's files, or all of a source archive's."""
  listed = subprocess.run(
    ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True
  )
  if listed.returncode:
    skipped = ('.venv', '.git', 'runs', '__pycache__', 'build', 'dist')
    paths = [p for p in ROOT.rglob('*') if p.is_file()]
    return [p for p in paths if not set(p.parts) & set(skipped)]
  paths = [ROOT / name for name in listed.stdout.split('\0') if name]
  return [path for path in paths if path.is_file()]


def python_files() -> list[str]:
  return sorted(
    str(path.relative_to(ROOT))
    for path in tracked_files()
    if path.suffix == '.py' and path.relative_to(ROOT).parts[0] in ROOTS
  )


def test_no_file_is_over_16_mib():
  large = [p for p in tracked_files() if p.stat().st_size > MAX_FILE_BYTES]
  assert not large


def test_no_file_names_a_path_of_one_machine():
  found = []
  for path in tracked_files():
    try:
      lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError:
      continue  # Weights and pictures.
    found += [f'{path}: {line}' for line in lines if MACHINE_PATH.search(line)]
  assert not found


@pytest.mark.parametrize('path', python_files())
def test_a_file_is_short_enough_to_read(path):
  num_lines = len((ROOT / path).read_text().splitlines())
  assert num_lines <= MAX_LINES


# Their module's docstring is theirs.
ENTRY_POINTS = ('main', 'get_config')


def undocumented(path: str) -> list[str]:
  """Returns the public functions and classes that lack a docstring.

  Methods are left out: most are a protocol's, which documents them once.
  """
  tree = ast.parse((ROOT / path).read_text())
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  bare = [
    node.name
    for node in tree.body
    if isinstance(node, kinds)
    and not node.name.startswith('_')
    and node.name not in ENTRY_POINTS
    and not ast.get_docstring(node)
  ]
  if tree.body and not ast.get_docstring(tree):
    bare.append('the module itself')
  return bare


@pytest.mark.parametrize(
  'path', [path for path in python_files() if not path.startswith('tests/')]
)
def test_every_public_name_has_a_docstring(path):
  assert not undocumented(path)


def canonical(name: str) -> str:
  """Returns the index's own spelling of a package's name (PEP 503)."""
  return re.sub(r'[-_.]+', '-', name).lower()


def test_every_requirement_has_a_tested_version():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  wanted = setup['options']['install_requires'].split()
  for extra in setup['options.extras_require'].values():
    wanted += extra.split()
  names = {re.split(r'[>=\[]', line)[0] for line in wanted}
  pins = (ROOT / 'constraints.txt').read_text().splitlines()
  pinned = {line.split('==')[0] for line in pins if '==' in line}
  assert {canonical(n) for n in names} <= {canonical(n) for n in pinned}
  assert 'torch==2.13.0' in pins  # Plain: no '+cpu'.


def test_every_room_is_a_package():
  rooms = {p.parent for p in (ROOT / 'mmdist').rglob('*.py')}
  assert not [room for room in rooms if not (room / '__init__.py').exists()]


def test_no_two_modules_of_the_library_have_one_name():
  names = [
    path.stem
    for path in (ROOT / 'mmdist').rglob('*.py')
    if path.name != '__init__.py'
  ]
  assert not {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize(
  'path', [path for path in python_files() if not path.startswith('tests/')]
)
def test_text_is_read_and_written_in_a_named_encoding(path):
  # Else it is that of the machine's locale, and a file of one machine is
  # unreadable on another.
  forgotten = []
  for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
    if not isinstance(node, ast.Call):
      continue
    name = ast.unparse(node.func)
    position = {'read_text': 0, 'write_text': 1}.get(name.rpartition('.')[2])
    if name == 'atomic.write_text' or position is None:
      continue
    named = {keyword.arg for keyword in node.keywords}
    if len(node.args) <= position and 'encoding' not in named:
      forgotten.append(f'{path}:{node.lineno}')
  # absl reads files of flags in the locale's encoding, which is looked at.
  assert len(forgotten) == (path == 'launchers/flag_files.py'), forgotten
