"""The sampler, against diffusers' own and for its seeds."""

import json

import diffusers
import numpy as np
import pytest
import torch
from torch.nn import functional

from mmdist.priors import pipeline as pipelines
from mmdist.priors import sample as samples
from tests.priors import tiny

PROMPTS = ('a happy man', 'a woman with a red hat')


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory):
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('sample'))
  return pipelines.open_pipeline(directory, device='cpu')


@pytest.mark.parametrize('scale', [1.0, 3.0])
@torch.no_grad()
def test_pictures_are_those_of_diffusers_ddim(pipeline, scale):
  ours = samples.sample(pipeline, PROMPTS, scale, num_steps=8, seed=4)
  scheduler = diffusers.DDIMScheduler(
    beta_schedule='squaredcos_cap_v2',
    prediction_type='v_prediction',
    timestep_spacing='trailing',
    clip_sample=True,
    set_alpha_to_one=True,
  )
  scheduler.set_timesteps(8)  # Divides 1000: its DDIM rounds the rest away.
  latents = samples._draw_noise(pipeline, 2, 4)
  words, empty = (
    pipeline.text.encode(texts).sequence for texts in (PROMPTS, [''] * 2)
  )
  for timestep in scheduler.timesteps:
    wanted = pipeline.denoiser(latents, timestep, words).sample
    without = pipeline.denoiser(latents, timestep, empty).sample
    noise_pred = without + scale * (wanted - without)
    latents = scheduler.step(
      noise_pred, timestep, latents, use_clipped_model_output=True
    ).prev_sample
  pixels = functional.pixel_shuffle(latents, 2).clamp(-1, 1) / 2 + 0.5
  # Eight float32 passes in another batch.
  np.testing.assert_allclose(
    ours, pixels.permute(0, 2, 3, 1).numpy(), rtol=0, atol=1e-4
  )


def test_pictures_are_colours_and_follow_seed_and_text(pipeline):
  one = samples.sample(pipeline, PROMPTS, num_steps=3, seed=0)
  assert one.shape == (2, 16, 16, 3) and one.dtype == np.float32
  assert one.min() >= 0 and one.max() <= 1
  np.testing.assert_array_equal(
    samples.sample(pipeline, PROMPTS, num_steps=3, seed=0), one
  )
  other = samples.sample(pipeline, PROMPTS, num_steps=3, seed=1)
  assert not np.array_equal(other, one)
  same = samples.sample(pipeline, ('a sad man',) * 2, num_steps=3, seed=0)
  assert not np.array_equal(same, one)


def test_a_latent_model_samples_pixels(tmp_path):
  directory = tiny.write_pipeline(tmp_path, 'epsilon', codec='vae')
  pipeline = pipelines.open_pipeline(directory, device='cpu')
  pictures = samples.sample(pipeline, PROMPTS, num_steps=2)
  assert pictures.shape == (2, 16, 16, 3)
  assert np.isfinite(pictures).all()


@pytest.mark.parametrize('num_steps', [0, 1001])
def test_an_impossible_number_of_steps_is_refused(pipeline, num_steps):
  with pytest.raises(ValueError, match='expected 1 to 1000'):
    samples.sample(pipeline, PROMPTS, num_steps=num_steps)


def _zero_snr(directory, kind):
  path = tiny.write_pipeline(directory, kind, codec='vae')
  config = path / 'scheduler' / 'scheduler_config.json'
  content = json.loads(config.read_text()) | {'rescale_betas_zero_snr': True}
  config.write_text(json.dumps(content))
  return pipelines.open_pipeline(path, device='cpu')


@pytest.mark.parametrize('kind', ['v_prediction', 'sample'])
def test_pictures_of_zero_terminal_snr_are_finite(tmp_path, kind):
  pictures = samples.sample(_zero_snr(tmp_path, kind), PROMPTS, num_steps=3)
  assert np.isfinite(pictures).all() and pictures.std() > 0


def test_epsilon_of_zero_terminal_snr_is_refused(tmp_path):
  with pytest.raises(ValueError, match='predicts epsilon.*rescale_betas'):
    samples.sample(_zero_snr(tmp_path, 'epsilon'), PROMPTS, num_steps=3)
