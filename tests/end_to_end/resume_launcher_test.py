"""The command of the README, given again."""

import fnmatch
import json
import os
import shutil

import pytest

from mmdist.run import workdir as workdir_lib
from tests.end_to_end import launching
from tests.priors import tiny


@pytest.mark.slow
def test_a_run_goes_on_with_changes_that_are_named(trained, tmp_path, here):
  workdir, color = tmp_path / 'run', tmp_path / 'color'
  shutil.copytree(trained / 'color', color)
  mine = f'--config.priors.generic.directory={color}'
  done = here(trained, workdir, mine)
  assert done.returncode == 0, done.stderr
  unknown = [
    path.name
    for path in workdir.iterdir()
    if not any(fnmatch.fnmatch(path.name, x) for x in workdir_lib.OUTPUTS)
  ]
  assert not unknown
  assert not (workdir / '.lock').exists()

  tiny.write_pipeline(color, seed=3)
  before = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  more = (mine, '--config.num_steps=3', '--resume_with_changes=num_steps')
  refused = here(trained, workdir, *more)
  assert refused.returncode == 1
  assert "the weights of prior 'generic' are not those" in refused.stderr
  assert 'Traceback' not in refused.stderr
  after = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  assert after == before

  done = here(
    trained, workdir, *more, '--resume_with_changes=num_steps,weights'
  )
  assert done.returncode == 0, done.stderr
  assert 'changed: num_steps: 2 -> 3' in done.stderr
  assert 'changed: weights.generic.unet/' in done.stderr
  assert launching.read_steps(workdir) == [0, 1, 2]
  rows = [json.loads(line) for line in (workdir / 'changes.jsonl').open()]
  assert rows[0]['field'] == 'num_steps'
  recorded = json.loads((workdir / 'priors.json').read_text())
  assert {row['field'] for row in rows[1:]} == {
    f'weights.generic.{file}' for file in recorded['generic']
  }


@pytest.mark.slow
def test_a_run_in_a_folder_in_use_is_refused(trained, tmp_path, here):
  workdir = tmp_path / 'run'
  with workdir_lib.locked(workdir):
    done = here(trained, workdir)
    assert [path.name for path in workdir.iterdir()] == ['.lock']
  assert done.returncode == 1
  assert f'in use by process {os.getpid()} on host ' in done.stderr
  assert 'Traceback' not in done.stderr
