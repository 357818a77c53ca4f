import os
import pathlib
import subprocess
import sys

import pytest

from tests.data import small_sets

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path):
  folder = small_sets.write(
    tmp_path / 'data', num_subjects=3, num_cameras=3, resolution=4
  )
  return str(folder)


@pytest.mark.slow
def test_the_command_says_what_is_wrong(data, tmp_path):
  (pathlib.Path(data) / '00000/images/002.png').unlink()
  command = [sys.executable, '-m', 'launchers.pretrain', f'--data={data}']
  done = subprocess.run(
    [*command, f'--out={tmp_path / "out"}'],
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    cwd=ROOT,
  )
  assert done.returncode == 1
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert '002.png is missing' in done.stderr
  assert not (tmp_path / 'out').exists()
