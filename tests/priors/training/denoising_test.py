"""What a prediction's error counts, by what is predicted."""

import dataclasses

import numpy as np
import pytest
import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules
from mmdist.priors.training import denoising
from mmdist.priors.training import dreambooth
from mmdist.priors.training import embedded
from tests.priors import tiny


def make_pipeline(prediction):
  architecture = dataclasses.replace(tiny.ARCHITECTURE, prediction=prediction)
  return embedded.make_pipeline(['a'], architecture, 'float32')


def errors_of(monkeypatch, prediction, timestep, predicted):
  """Returns the errors of a network that predicts just that, and its x."""
  pipeline = make_pipeline(prediction)
  monkeypatch.setattr(pipelines, 'predict', lambda *args: predicted)
  generator = torch.Generator().manual_seed(1)
  latents, noise = torch.randn((2, 3, 12, 4, 4), generator=generator)
  found = denoising.squared_errors(pipeline, latents, timestep, noise, None)
  levels = schedules.coefficients(pipeline.schedule, timestep)
  return found, schedules.add_noise(latents, noise, *levels), levels


@pytest.mark.parametrize('timestep', [150, 500, 990])
def test_an_error_of_the_image_counts_as_that_of_v(monkeypatch, timestep):
  timestep = torch.full((3,), timestep)
  v = torch.randn((3, 12, 4, 4), generator=torch.Generator().manual_seed(2))
  of_v, noisy, levels = errors_of(monkeypatch, 'v_prediction', timestep, v)
  x = schedules.noise_pred_to_x0(v, noisy, *levels, 'v_prediction')
  of_x, _, _ = errors_of(monkeypatch, 'sample', timestep, x)
  torch.testing.assert_close(of_x, of_v, rtol=1e-3, atol=1e-4)


def test_an_error_of_a_clean_image_stays_finite(monkeypatch):
  timestep = torch.zeros(3, dtype=torch.int64)
  nothing = torch.zeros(3, 12, 4, 4)
  found, _, _ = errors_of(monkeypatch, 'sample', timestep, nothing)
  generator = torch.Generator().manual_seed(1)
  latents, _ = torch.randn((2, 3, 12, 4, 4), generator=generator)
  torch.testing.assert_close(found, latents.square() / 0.05**2)


def test_the_loss_is_the_mean_square_of_the_schedules_target():
  """At zero weights the prediction is zero: the loss is the target's."""
  pipeline = make_pipeline('v_prediction')
  with torch.no_grad():
    for weight in pipeline.denoiser.parameters():
      weight.zero_()
  size = tiny.ARCHITECTURE.image_size
  rng = np.random.default_rng(0)
  # Black and white: of size 1 where pixels are from -1 to 1.
  pictures = rng.integers(0, 2, (8, size, size, 3)).astype(np.float32)
  tuning = dreambooth.FineTuning(seed=3)
  losses = [
    dreambooth.training_loss(
      pipeline, (pictures, ['a'] * 8), tuning, step
    ).item()
    for step in range(40)
  ]
  # v = a * noise - s * pixels, with a^2 + s^2 = 1 and unit noise and pixels;
  # 61,000 numbers leave a percent.
  np.testing.assert_allclose(np.mean(losses), 1.0, atol=0.05)
