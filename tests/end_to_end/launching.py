"""Runs the launcher's command, with assets as small as they get."""

import json
import pathlib
from typing import NamedTuple
import warnings

import jax
import numpy as np
import pytest

from launchers import optimize
from mmdist.config import schema
from mmdist.nerf import field
from mmdist.nerf import pretrained
from tests.priors import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT = 'a portrait of a happy man with green skin'
NERF = schema.NerfConfig(
  code_size=4, nerf_depth=2, nerf_width=16, num_nerf_samples=8
)


def write_trained(folder: pathlib.Path) -> pathlib.Path:
  """Writes a random NeRF and two random priors; returns their folder."""
  init = jax.jit(field.conditional_nerf(NERF).init)
  params = init(jax.random.key(0))
  codes = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  pretrained.save(folder / 'nerf', NERF, params, codes)
  tiny.write_pipeline(folder / 'color', seed=1)
  tiny.write_pipeline(folder / 'normal', seed=2)
  return folder


class Done(NamedTuple):
  """A command that has ended."""

  returncode: int
  stdout: str
  stderr: str


def words(
  trained,
  workdir,
  *arguments,
  experiment='experiments/smoke.py',
  prompt=PROMPT,
  priors=('generic', 'normal'),
) -> list[str]:
  """Returns the command's words, without the program's name.

  Args:
    trained: folder of the smallest assets; see the fixture.
    workdir: of the run.
    *arguments: further flags.
    experiment: the file that --config names.
    prompt: the sentence; '' leaves the experiment's.
    priors: of the experiment; they are given the smallest directories.
  """
  directories = {'generic': trained / 'color', 'normal': trained / 'normal'}
  return [
    f'--config={experiment}',
    f'--workdir={workdir}',
    f'--config.nerf_assets={trained / "nerf"}',
    '--config.nerf.code_size=4',
    '--config.nerf.nerf_depth=2',
    '--config.nerf.nerf_width=16',
    '--config.nerf.num_nerf_samples=8',
    '--config.views.use_view_words=False',
    '--config.results.judge=',
    *(f'--config.priors.{p}.directory={directories[p]}' for p in priors),
    *(
      f'--config.priors.{p}.prompt_template=a [w] photo of {{target}}'
      for p in priors
      if p == 'normal'
    ),
    *([f'--config.prompt={prompt}'] if prompt else []),
    '--executor=inline',
    *arguments,
  ]


def call_here(
  capfd, monkeypatch, trained, workdir, *arguments, **options
) -> Done:
  """Runs the launcher in this process, which has its libraries already."""
  monkeypatch.chdir(ROOT)
  capfd.readouterr()
  with warnings.catch_warnings(), pytest.raises(SystemExit) as exit_:
    warnings.simplefilter('always')
    optimize.COMMAND.run(
      ['optimize', *words(trained, workdir, *arguments, **options)]
    )
  said = capfd.readouterr()
  return Done(exit_.value.code or 0, said.out, said.err)


def read_steps(workdir) -> list[int]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line)['step'] for line in lines]
