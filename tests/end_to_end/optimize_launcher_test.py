"""The command of the README."""

import pytest

from tests.end_to_end import launching


@pytest.mark.slow
def test_a_sentence_becomes_a_folder_of_results_and_resumes(
  trained, tmp_path, here
):
  workdir = tmp_path / 'run'
  done = here(trained, workdir)
  assert done.returncode == 0, done.stderr
  assert launching.read_steps(workdir) == [0, 1]
  for name in ('turntable.mp4', 'sheet.png', 'report.html', 'preview.png'):
    assert (workdir / name).stat().st_size > 0
    if name != 'preview.png':
      assert str(workdir / name) in done.stdout
  again = here(trained, workdir)
  assert again.returncode == 0, again.stderr
  assert 'is finished: 2 of 2 steps' in again.stdout
  assert launching.read_steps(workdir) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
  'argument, words',
  [
    ('--config.prompt=a portrait of a happyy man', "nearest: 'happy'"),
    ('--config.nerf.nerf_width=32', 'nerf_width: 16 -> 32'),
  ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
  trained, tmp_path, here, argument, words
):
  workdir = tmp_path / 'run'
  done = here(trained, workdir, argument)
  assert done.returncode == 1
  (line,) = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
  assert words in line
  assert 'Traceback' not in done.stderr
  assert not workdir.exists()


@pytest.mark.slow
def test_a_preflight_takes_a_step_and_leaves_nothing(trained, tmp_path, here):
  workdir = tmp_path / 'run'
  done = here(trained, workdir, '--preflight_only')
  assert done.returncode == 0, done.stderr
  assert 'preflight passed: loaded, and one step taken, in ' in done.stdout
  assert 'stopped and saved' not in done.stdout
  assert not workdir.exists()
