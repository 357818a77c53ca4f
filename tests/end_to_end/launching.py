"""Runs the launcher's command, with assets as small as they get."""

import json
import os
import pathlib
import subprocess
import sys

from mmdist.config import schema

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT = 'a portrait of a happy man with green skin'
NERF = schema.NerfConfig(
  code_size=4, nerf_depth=2, nerf_width=16, num_nerf_samples=8
)


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
