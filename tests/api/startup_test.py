"""What a run in Ray waits for before its priors can load."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAVY = ('torch', 'diffusers', 'transformers', 'peft', 'trimesh')
# Everything up to the start of Ray.
PROGRAM = f"""
import contextlib, pathlib, sys
from experiments import generate
from mmdist.api import optimization, preparing
from mmdist.run import resuming, stopping
config = generate.get_config('default')
config.prompt = sys.argv[2]
given = preparing.Given(None, config, None, None, None, 'ray')
stop, stack = stopping.Stopper(), contextlib.ExitStack()
task = preparing.prepare(given, pathlib.Path(sys.argv[1]), (), stop, stack)
weights = resuming.weight_digests(task.recipes)
resuming.with_files(task.recipes, weights)
print(weights)
print([name for name in {HEAVY} if name in sys.modules])
"""


def run(folder, prompt):
  """Runs the program in a fresh process."""
  return subprocess.run(
    [sys.executable, '-c', PROGRAM, str(folder / 'run'), prompt],
    env={**os.environ, 'XDG_CACHE_HOME': str(folder / 'cache')},
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  )


def prepare(folder, prompt):
  """Returns what is printed in a fresh process."""
  return run(folder, prompt).stdout.splitlines()


@pytest.mark.slow
def test_known_priors_are_checked_without_torch(tmp_path):
  *first, _ = prepare(tmp_path, 'a portrait of a happy man')
  *second, loaded = prepare(tmp_path, 'a portrait of a happy man')
  assert second == first  # The same is said, of memory too.
  assert loaded == '[]'
  *_, loaded = prepare(tmp_path, 'a portrait of a sad woman')
  assert loaded == '[]'


@pytest.mark.slow
def test_a_text_that_no_head_can_have_is_warned_of(tmp_path):
  said = run(tmp_path, 'a portrait of a bald woman with long red hair').stderr
  assert said.count('a bald head has no hair.') == 1
