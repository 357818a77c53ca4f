import numpy as np
import pytest
import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors.training import denoised_psnr
from tests.priors import tiny

TEXTS = ['a portrait of a man', 'a portrait of a woman'] * 35


@pytest.fixture(name='pipeline', scope='module')
def fixture_pipeline(tmp_path_factory):
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('psnr'))
  return pipelines.open_pipeline(directory, 'float32', 'cpu')


@pytest.fixture(name='images')
def fixture_images():
  rng = np.random.default_rng(0)
  return rng.random((len(TEXTS), 16, 16, 3), dtype=np.float32)


def test_a_guess_of_known_error_has_its_psnr(pipeline, images, monkeypatch):
  """The network is asked for v; here it answers with v of x + 0.2."""
  clean = pipelines.encode_images(pipeline, torch.from_numpy(images))
  asked = []

  def predict(pipeline, noisy, timestep, prompt_embeds):
    first = len(asked) % len(TEXTS)
    asked.extend(timestep.tolist())
    x0 = (clean[first : first + len(noisy)] + 0.2).clamp(-1, 1)
    alpha_t = pipeline.schedule.signal[timestep][:, None, None, None]
    sigma_t = pipeline.schedule.noise[timestep][:, None, None, None]
    return (alpha_t * noisy - x0) / sigma_t

  monkeypatch.setattr(pipelines, 'predict', predict)
  found = denoised_psnr.denoised_psnr(pipeline, images, TEXTS, (200, 800))
  error = ((clean + 0.2).clamp(-1, 1) - clean).square().mean().item() / 4
  assert found == pytest.approx([-10 * np.log10(error)] * 2, abs=1e-3)
  count = len(pipeline.schedule)
  assert set(asked) == {round(0.2 * count), round(0.8 * count)}


def test_the_same_prior_has_the_same_number(pipeline, images):
  first, second = (
    denoised_psnr.denoised_psnr(pipeline, images, TEXTS, (400,))
    for _ in range(2)
  )
  assert first == second and np.isfinite(first).all()
