"""The command of the README, with priors of every family, in Ray actors."""

import json

import pytest

from tests.end_to_end import launching
from tests.priors import tiny_families


@pytest.mark.slow
@pytest.mark.parametrize(
  'families', [('sd1', 'sd2'), ('sdxl', 'if'), ('sd3', 'pixels')]
)
def test_every_family_moves_a_head_through_ray(trained, tmp_path, families):
  directories = [
    tiny_families.write(family, tmp_path / family) for family in families
  ]
  workdir = tmp_path / 'run'
  done = launching.call(
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
    assert row['cotangent_norm/generic'] > 0
    assert row['cotangent_norm/normal'] > 0
  assert "memory of prior 'generic': about" in done.stdout
  recorded = json.loads((workdir / 'priors.json').read_text())
  for prior, directory in zip(('generic', 'normal'), directories, strict=True):
    digests = recorded[prior]
    assert len(digests) == len(list(directory.rglob('*.safetensors')))
