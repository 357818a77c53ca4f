"""A run from Python and the same run from flags."""

import json

import pytest

from experiments import smoke
import mmdist


def small_config(trained) -> mmdist.RunConfig:
  """Returns, without flags, what `launching.words` says with them."""
  config = smoke.get_config()
  config.nerf_assets = str(trained / 'nerf')
  config.nerf.code_size, config.nerf.nerf_depth = 4, 2
  config.nerf.nerf_width, config.nerf.num_nerf_samples = 16, 8
  config.views.use_view_words = False
  config.results.judge = ''
  for name, assets in (('generic', 'color'), ('normal', 'normal')):
    config.priors[name].directory = str(trained / assets)
  config.priors['normal'].prompt_template = 'a [w] photo of {target}'
  return config


@pytest.mark.slow
def test_a_mix_from_python_is_the_one_from_flags_bit_for_bit(
  trained, tmp_path, here
):
  mix = tmp_path / 'mix.py'
  mix.write_text(
    'from experiments import mix, smoke\n'
    "def get_config(preset='happy_sad'):\n"
    '  run, mixed = smoke.get_config(), mix.get_config(preset)\n'
    '  run.concepts, run.prompt = mixed.concepts, mixed.prompt\n'
    '  return run\n'
  )
  done = here(trained, tmp_path / 'flags', experiment=mix, prompt='')
  assert done.returncode == 0, done.stderr
  happy = mmdist.avatar('a portrait of a happy man', name='happy')
  sad = mmdist.avatar('a portrait of a sad man', name='sad')
  run = mmdist.optimize(
    0.6 * happy + 0.4 * sad,
    tmp_path / 'python',
    config=small_config(trained),
    executor='inline',
  )
  assert run.digest() == mmdist.open_run(tmp_path / 'flags').digest()
  flags, python = (
    json.loads((tmp_path / name / 'config.json').read_text())
    for name in ('flags', 'python')
  )
  assert python == flags
