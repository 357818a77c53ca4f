"""The command of the README, with assets as small as they get."""

import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from mmdist import workdir as workdir_lib
from mmdist.core import config as config_lib
from mmdist.nerf import assets as nerf_assets
from mmdist.nerf import field
from tests.priors import tiny
from tests.priors import tiny_families

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT = 'a portrait of a happy man with green skin'
NERF = config_lib.NerfConfig(
  code_size=4, nerf_depth=2, nerf_width=16, num_nerf_samples=8
)


@pytest.fixture(name='trained', scope='module')
def fixture_trained(tmp_path_factory) -> pathlib.Path:
  """Writes a random NeRF and two random priors; returns their folder."""
  folder = tmp_path_factory.mktemp('trained')
  params = field.conditional_nerf(NERF).init(jax.random.key(0))
  codes = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  nerf_assets.save(folder / 'nerf', NERF, params, codes)
  tiny.write_pipeline(folder / 'color', seed=1)
  tiny.write_pipeline(folder / 'normal', seed=2)
  return folder


def call(trained, workdir, *arguments):
  """Runs the launcher in a process of its own; returns it, finished."""
  command = [
    sys.executable,
    '-m',
    'launchers.optimize',
    '--config=experiments/smoke.py',
    f'--workdir={workdir}',
    f'--config.prompt={PROMPT}',
    f'--config.nerf_assets={trained / "nerf"}',
    '--config.nerf.code_size=4',
    '--config.nerf.nerf_depth=2',
    '--config.nerf.nerf_width=16',
    '--config.nerf.num_nerf_samples=8',
    '--config.views.use_view_words=False',
    '--config.priors.normal.prompt_template=a [w] photo of {target}',
    f'--config.priors.generic.directory={trained / "color"}',
    f'--config.priors.normal.directory={trained / "normal"}',
    '--executor=inline',
    *arguments,
  ]
  environment = os.environ | {'XDG_CACHE_HOME': str(trained / 'cache')}
  return subprocess.run(
    command, cwd=ROOT, env=environment, capture_output=True, text=True
  )


def read_steps(workdir) -> list[int]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line)['step'] for line in lines]


@pytest.mark.slow
def test_a_sentence_becomes_a_folder_of_results_and_resumes(trained, tmp_path):
  workdir = tmp_path / 'run'
  done = call(trained, workdir)
  assert done.returncode == 0, done.stderr
  assert read_steps(workdir) == [0, 1]
  for name in ('turntable.mp4', 'sheet.png', 'report.html', 'preview.png'):
    assert (workdir / name).stat().st_size > 0
    if name != 'preview.png':
      assert str(workdir / name) in done.stdout
  again = call(trained, workdir)
  assert again.returncode == 0, again.stderr
  assert 'is finished: 2 of 2 steps' in again.stdout
  assert read_steps(workdir) == [0, 1]
  other = call(trained, workdir, '--config.seed=1')
  assert other.returncode == 1
  assert 'another configuration (seed: 0 -> 1)' in other.stderr
  assert 'Traceback' not in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
  'argument, words',
  [
    ('--config.prompt=a portrait of a happyy man', "nearest: 'happy'"),
    ('--config.nerf.nerf_width=32', 'nerf_width: 16 -> 32'),
  ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
  trained, tmp_path, argument, words
):
  workdir = tmp_path / 'run'
  done = call(trained, workdir, argument)
  assert done.returncode == 1
  (line,) = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
  assert words in line
  assert 'Traceback' not in done.stderr
  assert not workdir.exists()


@pytest.mark.slow
def test_a_run_goes_on_with_changes_that_are_named(trained, tmp_path):
  workdir, color = tmp_path / 'run', tmp_path / 'color'
  shutil.copytree(trained / 'color', color)
  mine = f'--config.priors.generic.directory={color}'
  done = call(trained, workdir, mine)
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
  refused = call(trained, workdir, *more)
  assert refused.returncode == 1
  assert "the weights of prior 'generic' are not those" in refused.stderr
  assert 'Traceback' not in refused.stderr
  after = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  assert after == before

  done = call(
    trained, workdir, *more, '--resume_with_changes=num_steps,weights'
  )
  assert done.returncode == 0, done.stderr
  assert 'changed: num_steps: 2 -> 3' in done.stderr
  assert 'changed: weights.generic.unet/' in done.stderr
  assert read_steps(workdir) == [0, 1, 2]
  rows = [json.loads(line) for line in (workdir / 'changes.jsonl').open()]
  assert rows[0]['field'] == 'num_steps'
  recorded = json.loads((workdir / 'priors.json').read_text())
  assert {row['field'] for row in rows[1:]} == {
    f'weights.generic.{file}' for file in recorded['generic']
  }

  before = (workdir / 'config.json').read_bytes()
  for name, words in (
    ('seed', 'is finished, so seed would change nothing'),
    ('num_steps', 'has a checkpoint of step 3'),
  ):
    change = (f'--config.{name}=1', f'--resume_with_changes={name}')
    refused = call(trained, workdir, mine, '--config.num_steps=3', *change)
    assert refused.returncode == 1
    assert words in refused.stderr and 'Traceback' not in refused.stderr
    assert (workdir / 'config.json').read_bytes() == before


@pytest.mark.slow
def test_a_run_in_a_folder_in_use_is_refused(trained, tmp_path):
  workdir = tmp_path / 'run'
  with workdir_lib.locked(workdir):
    done = call(trained, workdir)
    assert [path.name for path in workdir.iterdir()] == ['.lock']
  assert done.returncode == 1
  assert f'in use by process {os.getpid()} on host ' in done.stderr
  assert 'Traceback' not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
  'families', [('sd1', 'sd2'), ('sdxl', 'if'), ('sd3', 'pixels')]
)
def test_every_family_pulls_on_a_head_through_ray(trained, tmp_path, families):
  directories = [
    tiny_families.write(family, tmp_path / family) for family in families
  ]
  workdir = tmp_path / 'run'
  done = call(
    trained,
    workdir,
    '--config.num_steps=3',
    f'--config.priors.generic.directory={directories[0]}',
    f'--config.priors.normal.directory={directories[1]}',
    '--config.prompt=a portrait of a happy man',
    '--config.priors.normal.prompt_template=a photo of {target}',
    '--config.priors.generic.memory.batched=True',
    '--executor=ray',
  )
  assert done.returncode == 0, done.stderr
  rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').open()]
  assert [row['step'] for row in rows] == [0, 1, 2]
  for row in rows:
    assert row['pull/generic'] > 0 and row['pull/normal'] > 0
  assert "memory of prior 'generic': about" in done.stdout
  recorded = json.loads((workdir / 'priors.json').read_text())
  for prior, directory in zip(('generic', 'normal'), directories, strict=True):
    digests = recorded[prior]
    assert len(digests) == len(list(directory.rglob('*.safetensors')))
