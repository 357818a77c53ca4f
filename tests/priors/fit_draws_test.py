"""What a proxy is fitted on."""

import dataclasses

import pytest
import torch

from mmdist.core import messages
from mmdist.priors import fit_draws
from mmdist.priors import prior as priors
from tests.priors import tiny

HAPPY = 'a portrait of a happy man'
SAD = 'a portrait of a sad woman'
REQUEST = messages.ScoreRequest(
  step=0,
  images=None,
  terms=(),
  noise_levels=None,
  seed=5,
  proxy_step=0,
  proxy_learning_rate=1e-3,
)


@pytest.fixture(name='directory', scope='module')
def fixture_directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior'))


def test_fit_texts_are_plain_of_every_concept_and_sometimes_empty(directory):
  prior = priors.build(tiny.spec(directory))
  request = REQUEST
  latents = torch.zeros(400, 12, 8, 8)
  shown = dataclasses.make_dataclass('Shown', ['latents', 'timestep'])(
    latents, torch.zeros(400)
  )
  noised, texts = fit_draws.draw_fit(
    prior.pipeline, shown, request, (HAPPY, SAD)
  )
  counts = {text: texts.count(text) for text in set(texts)}
  assert counts.keys() == {HAPPY, SAD, ''}
  # Binomial: 40 +- 6 empty, 180 +- 10 each; five deviations.
  assert 10 < counts[''] < 70
  assert 130 < counts[HAPPY] < 230
  # Uniform t: mean 500, deviation of the mean 289 / 20.
  assert abs(noised.timestep.float().mean() - 499.5) < 5 * 14.4
  assert abs(noised.noise.mean()) < 0.02
