"""For Gaussian priors and a Gaussian proxy the fixed point is known.

A prior that believes images of concept c are N(m_c, v) predicts the noise in
closed form, and so does a proxy that believes the renders are N(m, v). The sum
of weighted residuals is then proportional to sum_c w_c (m - m_c), which is zero
at m = sum_c w_c m_c / sum_c w_c: outside the hull of the m_c where a weight is
negative, and nowhere if the weights sum to zero (docs/method.md, section 2,
'Balance').
"""

import contextlib
import types

import diffusers
from diffusers import configuration_utils
from diffusers import loaders
import numpy as np
import pytest
import torch

from mmdist.core import messages
from mmdist.priors import image_codec
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import schedule as schedules
from mmdist.priors import score as scores
from mmdist.priors import text_encoders
from tests.priors import tiny

SIZE = 2  # Pixels along an axis.
NUM_VIEWS = 8
VARIANCE = 0.05
# What each text means: the mean image of its Gaussian, in [-1, 1].
MEANS = {
  'happy': (0.5, -0.2, 0.1),
  'sad': (-0.3, 0.4, 0.2),
  '': (0.0, 0.0, 0.0),
}
MIXTURES = [
  {'happy': 1.0},
  {'happy': 1.0, 'sad': 1.0},
  {'happy': 1.5, 'sad': -0.5},
]


class GaussianDenoiser(
  diffusers.ModelMixin,
  configuration_utils.ConfigMixin,
  loaders.PeftAdapterMixin,
):
  """The exact denoiser of N(to_q(text), VARIANCE); a LoRA moves its means."""

  config_name = 'config.json'

  @configuration_utils.register_to_config
  def __init__(self):
    super().__init__()
    self.to_q = torch.nn.Linear(len(MEANS), 3, bias=False)
    self.to_q.weight.data = torch.tensor(list(MEANS.values())).T.contiguous()
    self.signal = _schedule().signal
    self.mean = None  # If set, the belief about every text.

  def forward(self, noisy, timestep, encoder_hidden_states):
    mean = self.to_q(encoder_hidden_states[:, 0])
    if self.mean is not None:
      mean = self.mean.expand_as(mean)
    a = self.signal[timestep][:, None, None, None]
    a2, s2 = a**2, 1 - a**2
    residual = noisy - a * mean[:, :, None, None]
    eps = s2.sqrt() * residual / (a2 * VARIANCE + s2)
    return types.SimpleNamespace(sample=eps)


class OneHotTexts:
  """In place of a text encoder: each text is an axis of its own."""

  def encode(self, texts):
    places = [list(MEANS).index(text) for text in texts]
    return text_encoders.PromptEmbeds(torch.eye(len(MEANS))[places][:, None, :])


class ExactProxy:
  """What a proxy of unlimited fits would be: it knows the renders' mean."""

  recordings = None

  def __init__(self, unet):
    self._unet = unet
    self.mean = torch.zeros(3)

  def of(self, text):
    del text  # One proxy for all concepts.
    return self

  @contextlib.contextmanager
  def active(self):
    self._unet.mean = self.mean
    yield
    self._unet.mean = None


def _schedule():
  return schedules.schedule_from_config({'beta_schedule': 'squaredcos_cap_v2'})


def _pipeline():
  return pipelines.Pipeline(
    denoiser=GaussianDenoiser().requires_grad_(False),
    text=OneHotTexts(),
    schedule=_schedule(),
    codec=image_codec.PixelCodec(1),
    image_size=SIZE,
    settings={},
    dtype=torch.float32,
    device=torch.device('cpu'),
  )


def _request(concepts, colour, step, learning_rate=0.0):
  """Asks about renders of one colour with the variance that is believed in."""
  rng = np.random.default_rng(step)
  shape = (NUM_VIEWS, SIZE, SIZE, 3)
  images = colour + np.sqrt(VARIANCE) * rng.standard_normal(shape)
  return messages.ScoreRequest(
    step=step,
    images=((images + 1) / 2).astype(np.float32),
    terms=tuple(
      messages.Term((text,) * NUM_VIEWS, text, weight, 1.0)
      for text, weight in concepts.items()
    ),
    noise_levels=rng.uniform(0.02, 0.8, NUM_VIEWS).astype(np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=learning_rate,
  )


def _balance(concepts):
  weighted = [w * np.array(MEANS[text]) for text, w in concepts.items()]
  return sum(weighted) / sum(concepts.values())


def _descend(concepts, num_steps):
  """Descends with exact proxies; returns the colour after each step."""
  pipeline = _pipeline()
  proxy = ExactProxy(pipeline.denoiser)
  colours = [np.zeros(3, np.float32)]
  for step in range(num_steps):
    proxy.mean = torch.from_numpy(colours[-1])
    answer = scores.score(
      pipeline, proxy, _request(concepts, colours[-1], step)
    )
    colours.append(colours[-1] - 2 * answer.cotangent.sum((0, 1, 2)))
  return np.array(colours)


@pytest.mark.parametrize('concepts', MIXTURES)
def test_a_weighted_mixture_ends_where_its_residuals_balance(concepts):
  colours = _descend(concepts, num_steps=60)
  # The descent contracts by about a half per step, down to float32.
  np.testing.assert_allclose(colours[-1], _balance(concepts), atol=1e-5)


def test_weights_that_sum_to_zero_have_no_fixed_point():
  colours = _descend({'happy': 1.0, 'sad': -1.0}, num_steps=20)
  away = np.array(MEANS['happy']) - np.array(MEANS['sad'])
  moves = np.diff(colours, axis=0) @ away / np.linalg.norm(away)
  assert (moves > 0.05).all()


def test_fits_take_the_proxy_to_the_mean_of_the_renders():
  prior = priors.DiffusionPrior(tiny.spec(''), _pipeline())
  colour = np.array([0.3, -0.4, 0.2])
  for step in range(80):
    prior.score(_request(MIXTURES[0], colour, step, 0.1 * 0.96**step))
    prior.fit()
  with prior.proxy.active(), torch.no_grad():
    learned = prior.pipeline.denoiser.to_q(torch.eye(len(MEANS))).numpy()
  # The renders' noise: 0.22 / sqrt(4 pixels x 8 views x some 25 fits) = 0.01.
  np.testing.assert_allclose(learned[0], colour, atol=0.04)


@pytest.mark.slow
@pytest.mark.parametrize('concepts', MIXTURES)
def test_learning_proxies_lead_to_the_same_end(concepts):
  prior = priors.DiffusionPrior(tiny.spec(''), _pipeline())
  colour = np.zeros(3, np.float32)
  for step in range(300):
    decay = 0.02 ** (step / 300)
    request = _request(concepts, colour, step, 0.1 * decay)
    # Slower than the proxy, or the two circle each other.
    colour = colour - 0.3 * decay * prior.score(request).cotangent.sum(
      (0, 1, 2)
    )
    prior.fit()
  # Adam on noisy fits: some hundredths remain.
  np.testing.assert_allclose(colour, _balance(concepts), atol=0.06)
