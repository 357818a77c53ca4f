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
