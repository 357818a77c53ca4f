"""The command of the README, with priors of every family and kind of file."""

import json
import shutil
import textwrap

import pytest

from tests.priors import tiny_adapters
from tests.priors import tiny_checkpoints
from tests.priors import tiny_families


def write_experiment(path, directories) -> None:
  """Writes an experiment with a prior per family, by turns of each channel."""
  path.write_text(
    textwrap.dedent(f"""
      from experiments import smoke
      from mmdist.config import schema

      def get_config(preset='default'):
        run = smoke.get_config()
        run.num_steps = 2
        run.priors.clear()
        for number, (name, directory) in enumerate({directories!r}.items()):
          run.priors[name] = schema.PriorConfig(
            directory=directory,
            channel=('rgb', 'normal')[number % 2],
            prompt_template=('{{prompt}}', 'a photo of {{target}}')[number % 2],
          )
        run.priors['sd1'].memory.batched = True
        return run
    """)
  )


@pytest.mark.parametrize(
  'executor',
  [
    pytest.param('inline', marks=pytest.mark.slow),
    # Six processes, each with torch and diffusers of its own.
    pytest.param('ray', marks=pytest.mark.long),
  ],
)
def test_every_family_moves_a_head(executor, trained, tmp_path, here):
  directories = {
    family: str(tiny_families.write(family, tmp_path / family))
    for family in tiny_families.FAMILIES
  }
  experiment, workdir = tmp_path / 'families.py', tmp_path / 'run'
  write_experiment(experiment, directories)
  done = here(
    trained,
    workdir,
    f'--executor={executor}',
    experiment=experiment,
    priors={},
  )
  assert done.returncode == 0, done.stderr
  rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').open()]
  assert [row['step'] for row in rows] == [0, 1]
  recorded = json.loads((workdir / 'priors.json').read_text())
  for family, directory in directories.items():
    assert all(row[f'cotangent_norm/{family}'] > 0 for row in rows)
    assert f"memory of prior '{family}': about" in done.stdout
    files = list((tmp_path / family).rglob('*.safetensors'))
    assert directory and len(recorded[family]) == len(files)


def write_files(folder):
  """Returns priors as people have them: name -> fields of its options."""
  _, single, base = tiny_checkpoints.write('sd1', folder / 'single')
  _, flux, rest = tiny_checkpoints.write('flux', folder / 'comfy')
  plain = tiny_families.write('sd1', folder / 'plain')
  cache = folder / 'hub' / 'models--me--mine'
  shutil.copytree(plain, cache / 'snapshots' / ('0' * 40))
  half = shutil.copytree(plain, folder / 'half')
  weights = half / 'unet' / 'diffusion_pytorch_model.safetensors'
  weights.rename(weights.with_suffix('.bf16.safetensors'))
  loras = [
    tiny_adapters.save(
      folder / f'{name}.safetensors',
      {k: weight * v for k, v in tiny_adapters.PAIR.items()},
    )
    for name, weight in (('hat', 1.0), ('smile', 2.0))
  ]
  given = [(str(path), 0.4) for path in loras]
  return {
    'single': {'directory': str(single), 'base': str(base), 'loras': given},
    'cached': {'directory': str(cache), 'loras': given},
    'comfy': {'directory': str(flux), 'base': str(rest)},
    'half': {'directory': str(half), 'lora': given[0][0], 'lora_scale': 2.0},
    **{
      family: {'directory': str(tiny_families.write(family, folder / family))}
      for family in tiny_families.TRANSFORMERS
    },
  }


@pytest.mark.parametrize(
  'executor',
  [
    pytest.param('inline', marks=pytest.mark.slow),
    # Six processes, each with torch and diffusers of its own.
    pytest.param('ray', marks=pytest.mark.long),
  ],
)
def test_every_kind_of_file_moves_a_head(executor, trained, tmp_path, here):
  priors = write_files(tmp_path)
  experiment, workdir = tmp_path / 'files.py', tmp_path / 'run'
  experiment.write_text(
    textwrap.dedent(f"""
      from experiments import smoke
      from mmdist.config import schema

      def get_config(preset='default'):
        run = smoke.get_config()
        run.num_steps = 3
        run.priors.clear()
        for name, fields in {priors!r}.items():
          run.priors[name] = schema.PriorConfig(
            prompt_template='{{prompt}}', **fields
          )
        return run
    """)
  )
  done = here(
    trained, workdir, f'--executor={executor}', experiment=experiment, priors={}
  )
  assert done.returncode == 0, done.stderr
  rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').open()]
  assert [row['step'] for row in rows] == [0, 1, 2]
  recorded = json.loads((workdir / 'priors.json').read_text())
  for name in priors:
    assert all(row[f'cotangent_norm/{name}'] > 0 for row in rows)
  assert set(recorded['single']) == {
    'my favourite.safetensors',
    'lora',
    'lora_2',
  }
