"""What the sources never do: run what they read, or tell what they must not.

SECURITY.md promises it. Tests may pickle and start processes; what is shipped
may not, but for the exceptions below, each with its reason.
"""

import ast
import os
import pathlib

import pytest

from mmdist.core import messages
from mmdist.distribution import ray_executor
from mmdist.results import remake

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOMS = ('mmdist', 'launchers', 'experiments')

# Each runs text, or whatever a file says.
FORBIDDEN_CALLS = (
  'eval',
  'exec',
  'compile',
  '__import__',
  'builtins.eval',
  'builtins.exec',
  'importlib.import_module',
  'os.popen',
  'os.system',
  'pandas.read_pickle',
  'runpy.run_module',
  'runpy.run_path',
  'subprocess.getoutput',
  'yaml.full_load',
  'yaml.load',
  'yaml.unsafe_load',
)
FORBIDDEN_MODULES = (
  '_pickle',
  'cloudpickle',
  'code',
  'dill',
  'joblib',
  'marshal',
  'pickle',
  'shelve',
)
# The only value that a keyword may have.
KEYWORDS = {
  'allow_pickle': False,
  'local_files_only': True,
  'safe_serialization': True,
  'shell': False,
  'trust_remote_code': False,
  'use_safetensors': True,
  'verify': True,
  'weights_only': True,
}
# Keywords that a call must have, since its default trusts what it reads.
NEEDED = {
  'torch.load': ('weights_only',),
  'from_pretrained': ('local_files_only',),
}
# Variables that may be read; none of them is a secret.
VARIABLES = (
  'CUBLAS_WORKSPACE_CONFIG',
  'CUDA_VISIBLE_DEVICES',
  'HOME',
  'JAX_COORDINATOR_ADDRESS',
  'JAX_NUM_CPU_DEVICES',
  'JAX_PLATFORMS',
  'JAX_PROCESS_ID',
  'OMPI_COMM_WORLD_RANK',
  'OMP_NUM_THREADS',
  'RAY_API_SERVER_ADDRESS',
  'RAY_IGNORE_UNHANDLED_ERRORS',
  'RAY_USAGE_STATS_ENABLED',
  'RAY_USE_TLS',
  'SLURM_PROCID',
  'SLURM_STEP_NODELIST',
  'TPU_WORKER_ID',
  'XDG_CACHE_HOME',
  'XLA_FLAGS',
  'XLA_PYTHON_CLIENT_MEM_FRACTION',
  'XLA_PYTHON_CLIENT_PREALLOCATE',
)
EXCEPTIONS = {
  # An experiment is Python, and is run: SECURITY.md says so.
  ('mmdist/config/experiments.py', 'runpy.run_path'),
  # Loads the public names, which stand in a table in the same file.
  ('mmdist/__init__.py', 'importlib.import_module'),
  # The module is one of a table's, in the same file.
  ('experiments/benchmarks/gpu_check.py', 'importlib.import_module'),
  # The name is one of a tuple of commands, checked in the same function.
  ('launchers/console.py', 'importlib.import_module'),
  # Hands Ray its own token, from one variable to another, and prints none.
  ('mmdist/distribution/tokens.py', 'os.environ'),
  # Sets the variables of threads and devices while Ray is started.
  ('mmdist/distribution/actor_environment.py', 'os.environ'),
  # Puts back what was there.
  ('mmdist/distribution/variables.py', 'os.environ'),
}


def sources() -> list[str]:
  return sorted(
    str(path.relative_to(ROOT))
    for room in ROOMS
    for path in (ROOT / room).rglob('*.py')
  )


def aliases(tree: ast.Module) -> dict[str, str]:
  """Returns what each imported name stands for."""
  names = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for item in node.names:
        name = item.asname or item.name.partition('.')[0]
        names[name] = item.name if item.asname else name
    elif isinstance(node, ast.ImportFrom):
      for item in node.names:
        names[item.asname or item.name] = f'{node.module or "."}.{item.name}'
  return names


def findings(text: str) -> set[str]:
  """Returns what a source does that it may not."""
  tree = ast.parse(text)
  names = aliases(tree)

  def full_name(node) -> str:
    first, dot, rest = ast.unparse(node).partition('.')
    return names.get(first, first) + dot + rest

  found = {
    name.partition('.')[0]
    for name in names.values()
    if name.partition('.')[0] in FORBIDDEN_MODULES
  }
  harmless = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Call):
      found |= _of_call(node, full_name(node.func))
    harmless |= _named_variables(node, full_name)
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute | ast.Name) and node not in harmless:
      if full_name(node) in ('os.environ', 'os.getenv', 'os.environb'):
        found.add('os.environ')
  return found


def _of_call(node: ast.Call, name: str) -> set[str]:
  found = {name} & set(FORBIDDEN_CALLS)
  keywords = {item.arg: item.value for item in node.keywords}
  for keyword, value in keywords.items():
    is_safe = isinstance(value, ast.Constant) and value.value is KEYWORDS.get(
      keyword
    )
    if keyword in KEYWORDS and not is_safe:
      found.add(keyword)
  for function, needed in NEEDED.items():
    if name.endswith(function) and not set(needed) <= set(keywords):
      found.add(function)
  return found


def _named_variables(node, full_name) -> set[ast.AST]:
  """Returns the mentions of os.environ that say which variable they mean."""
  if isinstance(node, ast.Subscript):
    owner, key = node.value, node.slice
  elif (
    isinstance(node, ast.Call)
    and isinstance(node.func, ast.Attribute)
    and node.func.attr in ('get', 'setdefault', 'pop')
    and node.args
  ):
    owner, key = node.func.value, node.args[0]
  else:
    return set()
  is_known = isinstance(key, ast.Constant) and key.value in VARIABLES
  return {owner} if is_known and full_name(owner) == 'os.environ' else set()


@pytest.mark.parametrize('path', sources())
def test_a_source_runs_nothing_that_it_reads_and_tells_no_secret(path):
  found = findings((ROOT / path).read_text(encoding='utf-8'))
  allowed = {what for where, what in EXCEPTIONS if where == path}
  assert found == allowed  # An exception that is no longer needed goes, too.


def test_there_are_sources_and_every_exception_is_one_of_them():
  assert {path.partition('/')[0] for path in sources()} == set(ROOMS)
  assert {path for path, _ in EXCEPTIONS} <= set(sources())


@pytest.mark.parametrize(
  'text, what',
  [
    ('eval(text)', 'eval'),
    ('exec(text)', 'exec'),
    ('import builtins\nbuiltins.eval(text)', 'builtins.eval'),
    ('import pickle', 'pickle'),
    ('import pickle as p\np.loads(data)', 'pickle'),
    ('from pickle import loads', 'pickle'),
    ('def f():\n  import dill', 'dill'),
    ('import torch\ntorch.load(path)', 'torch.load'),
    ('import torch as t\nt.load(path)', 'torch.load'),
    ('import torch\ntorch.load(path, weights_only=False)', 'weights_only'),
    ('import torch\ntorch.load(path, weights_only=flag)', 'weights_only'),
    ('import yaml\nyaml.load(text)', 'yaml.load'),
    ('f(trust_remote_code=True)', 'trust_remote_code'),
    ('f(trust_remote_code=flag)', 'trust_remote_code'),
    ('subprocess.run(text, shell=True)', 'shell'),
    ('import os\nos.system(text)', 'os.system'),
    ('requests.get(url, verify=False)', 'verify'),
    ('np.load(path, allow_pickle=True)', 'allow_pickle'),
    ('Model.from_pretrained(path)', 'from_pretrained'),
    ('f(use_safetensors=None)', 'use_safetensors'),
    ('import runpy\nrunpy.run_path(path)', 'runpy.run_path'),
    ("import os\nos.environ['HF_TOKEN']", 'os.environ'),
    ("import os\nos.environ.get('HF_TOKEN')", 'os.environ'),
    ('import os\nprint(os.environ)', 'os.environ'),
    ("import os\nos.getenv('HF_TOKEN')", 'os.environ'),
    ('from os import environ\ndict(environ)', 'os.environ'),
  ],
)
def test_what_may_not_be_is_found(text, what):
  assert findings(text) == {what}


@pytest.mark.parametrize(
  'text',
  [
    'network.eval()',
    "import re\nre.compile('a')",
    'import torch\ntorch.load(path, weights_only=True)',
    'f(trust_remote_code=False, shell=False)',
    'safetensors.torch.load_file(path)',
    "import os\nos.environ.setdefault('XLA_FLAGS', '')",
    "import os\nos.environ['XLA_FLAGS'] = ''",
  ],
)
def test_what_may_be_is_not(text):
  assert not findings(text)


def test_an_actor_is_sent_no_variable_but_of_threads_and_devices(monkeypatch):
  monkeypatch.setitem(os.environ, 'HF_TOKEN', 'not-for-anybody')
  spec = messages.PriorSpec('generic', messages.PriorOptions(), num_threads=2)
  options = ray_executor.actor_options(spec)
  variables = options['runtime_env'].pop('env_vars')
  assert set(variables) == {
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO',
  }
  assert not options['runtime_env'] and 'not-for' not in str(options)


def test_live_pictures_are_for_this_machine_unless_asked_otherwise():
  assert remake.Options.host == '127.0.0.1'
