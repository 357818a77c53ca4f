"""Mistakes that are told by commands in processes of their own, as typed."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
  'words, line',
  [
    (['heads', '--shards=x', '--out=new'], "error: 'x' is not FIRST:LAST"),
    (['heads'], 'error: flag --out=None'),
    (['train_prior', '--data=no', '--out=new'], 'error: no shards'),
    (['train_judge', '--data=no', '--out=new'], 'error: no shards'),
    (
      ['optimize', '--config=smoke', '--ray_address=127.0.0.1:1']
      + ['--workdir=new'],
      "error: nobody answers at '127.0.0.1:1'",
    ),
    (
      ['sweep', '--config=smoke', '--seeds=0,1', '--ray_address=127.0.0.1:1']
      + ['--workdir=new'],
      "error: nobody answers at '127.0.0.1:1'",
    ),
    (
      ['trajectory', '--ray_address=127.0.0.1:1', '--workdir=new'],
      "error: nobody answers at '127.0.0.1:1'",
    ),
    (
      ['trajectory', '--ray_address=ray://head:10001', '--workdir=new'],
      "error: the address of the Ray cluster is 'ray://head:10001'",
    ),
    (
      ['optimize', '--executor=inline', '--ray_address=head:1']
      + ['--workdir=new'],
      'error: --ray_address=head:1 and --executor=inline are given',
    ),
    (
      ['trajectory', '--executor=inline', '--ray_address=head:1']
      + ['--workdir=new'],
      'error: --ray_address=head:1 and --executor=inline are given',
    ),
  ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, words, line):
  command = [sys.executable, '-m', f'launchers.{words[0]}', *words[1:]]
  environment = os.environ | {'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    command, cwd=tmp_path, env=environment, capture_output=True, text=True
  )
  assert done.returncode == 1
  assert done.stderr.startswith(line) and done.stderr.count('\n') == 1
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('name', ['optimize', 'submit', 'sweep'])
def test_a_command_imports_nothing_that_computes_before_it_has_to(name):
  # An address where nobody is would else be told after all these imports.
  program = (
    f'import sys, launchers.{name}\n'
    "print({'jax', 'torch', 'ray', 'orbax'} & set(sys.modules))"
  )
  environment = os.environ | {'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    [sys.executable, '-c', program],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == 'set()\n'
