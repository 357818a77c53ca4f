"""Flux and PixArt against diffusers' own pipelines, on tiny random weights."""

import json
import types

import diffusers
import numpy as np
import pytest
import torch
from torch.nn import functional

from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.priors import checks
from mmdist.priors import denoisers
from mmdist.priors import families
from mmdist.priors import footprint
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import sample
from mmdist.priors import text_encoders
from tests.priors import tiny
from tests.priors import tiny_families

PROMPT = 'a happy man'
SCALE = 5.0
# As in families_test.py: two float32 implementations, guided with 5.
TOLERANCE = {'rtol': 0, 'atol': 3e-5}


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('transformers')
  return {
    family: tiny_families.write(family, folder / family)
    for family in tiny_families.TRANSFORMERS
  }


def recorded(pipe, **asked):
  """Returns what a pipeline's first step asked of its network, and made of it.

  Returns:
    Its inputs by name, and the guided answer.
  """
  pipe.set_progress_bar_config(disable=True)
  calls, answers = [], []

  def see(module, args, kwargs):
    del module
    names = ('hidden_states',)
    calls.append(dict(zip(names, args)) | kwargs)

  pipe.transformer.register_forward_pre_hook(see, with_kwargs=True)
  step = pipe.scheduler.step

  def record(model_output, *args, **kwargs):
    answers.append(model_output.clone())
    return step(model_output, *args, **kwargs)

  pipe.scheduler.step = record
  pipe(
    PROMPT,
    negative_prompt='',
    num_inference_steps=2,
    height=16,
    width=16,
    generator=torch.Generator().manual_seed(0),
    output_type='latent',
    **asked,
  )
  return calls[0], answers[0]


def ours(directory, noisy, time):
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  distance = (pipeline.schedule.times - time).abs()
  assert distance.min() < 1e-3
  with torch.no_grad():
    noise_pred = pipelines.predict(
      pipeline,
      noisy.repeat(2, 1, 1, 1),
      distance.argmin().reshape(1).repeat(2),
      pipeline.text.encode([PROMPT, '']),
    )
  wanted, empty = noise_pred.chunk(2)
  assert (wanted - empty).abs().max() > 1e-3  # The text is heard.
  return empty + SCALE * (wanted - empty)


def test_a_call_of_flux_is_ours(directories):
  directory = directories['flux']
  call, guided = recorded(
    diffusers.FluxPipeline.from_pretrained(directory), true_cfg_scale=SCALE
  )

  def fold(tokens):
    return functional.pixel_shuffle(tokens.mT.unflatten(2, (4, 4)), 2)

  found = ours(
    directory, fold(call['hidden_states']), 1000 * call['timestep'][0]
  )
  torch.testing.assert_close(found, fold(guided), **TOLERANCE)
  # What the network is told of guidance is what the pipeline tells it.
  assert float(call['guidance'][0]) == 3.5


def test_a_call_of_pixart_is_ours(directories):
  directory = directories['pixart']
  pipe = diffusers.PixArtAlphaPipeline.from_pretrained(directory)
  call, guided = recorded(
    pipe,
    guidance_scale=SCALE,
    use_resolution_binning=False,
    clean_caption=False,
  )
  noisy = call['hidden_states'][:1]
  found = ours(directory, noisy, call['timestep'][0])
  torch.testing.assert_close(found, guided[:, :4], **TOLERANCE)


@pytest.mark.parametrize('steps', [4, 25])
def test_the_levels_of_flux_are_those_that_its_images_are_shifted_to(
  directories, steps
):
  schedule = families.read_family(directories['flux']).schedule
  scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
    use_dynamic_shifting=True
  )
  # 16 tokens, on the line of 256 -> 0.5 and 4096 -> 1.15.
  mu = 0.5 + (1.15 - 0.5) * (16 - 256) / (4096 - 256)
  scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=mu)
  for sigma, time in zip(scheduler.sigmas, scheduler.timesteps):
    distance, index = (schedule.times - time).abs().min(0)
    assert distance < 0.5  # Of 1000.
    torch.testing.assert_close(schedule.noise[index], sigma, rtol=0, atol=5e-4)
  assert len(schedule) == 1000 and schedule.ends_in_noise


@pytest.mark.parametrize('family', tiny_families.TRANSFORMERS)
@pytest.mark.parametrize('objective', guidance_kinds.KINDS)
def test_a_prior_answers_and_fits(directories, family, objective):
  directory = directories[family]
  checks.check_prior(directory, [PROMPT])
  spec = tiny.spec(directory, objective=objective)
  built = priors.build(spec)
  losses = []
  for step in range(3):
    request = messages.ScoreRequest(
      step=0,
      seed=0,
      images=np.full((1, 16, 16, 3), 0.5, np.float32),
      noise_levels=np.float32([0.6]),
      start_images=np.full((1, 16, 16, 3), 0.4, np.float32),
      terms=(
        messages.Term((PROMPT,), PROMPT, 1.0, SCALE, negative_prompt='hat'),
      ),
      proxy_step=step,
      proxy_learning_rate=1e-2,
    )
    answer = built.score(request).cotangent
    assert np.isfinite(answer).all() and np.abs(answer).max() > 0
    losses.append(built.fit().get('proxy_loss', 0.0))
  if built.proxy is not None:
    assert losses[-1] < losses[0]  # On the same renders.


@pytest.mark.parametrize('family', tiny_families.TRANSFORMERS)
def test_pictures_and_memory(directories, family):
  directory = directories[family]
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  pictures = sample.sample(pipeline, [PROMPT], num_steps=2)
  assert pictures.shape == (1, 16, 16, 3) and np.isfinite(pictures).all()
  need = footprint.estimate(tiny.spec(directory), 1)
  weights = sum(w.numel() for w in pipeline.denoiser.parameters())
  assert need.denoiser == 4 * weights and need.activations > 0


@pytest.mark.parametrize('family', tiny_families.TRANSFORMERS)
def test_it_is_saved_and_opened_again(directories, family, tmp_path):
  pipeline = pipelines.open_pipeline(directories[family], 'float32', 'cpu')
  pipelines.save_pipeline(pipeline, tmp_path / 'saved', 'float32')
  again = pipelines.open_pipeline(tmp_path / 'saved', 'float32', 'cpu')
  weights = again.denoiser.state_dict()
  for name, weight in pipeline.denoiser.state_dict().items():
    assert torch.equal(weights[name], weight)
  assert again.image_size == 16


def test_the_larger_pixart_reads_longer_texts(directories, tmp_path):
  family = families.read_family(directories['pixart'])
  assert family.texts[0].length == 120
  index = directories['pixart'] / 'model_index.json'
  before = index.read_text()
  named = json.loads(before) | {'_class_name': 'PixArtSigmaPipeline'}
  index.write_text(json.dumps(named))
  try:
    family = families.read_family(directories['pixart'])
    assert family.texts[0].length == 300
  finally:
    index.write_text(before)


@pytest.mark.parametrize(
  'name',
  [
    'HunyuanDiT2DModel',
    'Lumina2Transformer2DModel',
  ],
)
def test_a_transformer_of_another_kind_is_refused_by_name(
  directories, name, tmp_path
):
  path = directories['flux'] / 'transformer' / 'config.json'
  before = path.read_text()
  path.write_text(json.dumps(json.loads(before) | {'_class_name': name}))
  try:
    with pytest.raises(ValueError, match=f'config.json declares {name}'):
      families.read_family(directories['flux'])
  finally:
    path.write_text(before)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_z_image_is_given_every_token_of_a_long_text(dtype):
  """In bfloat16 a sum of 301 ones is 302."""
  given = []

  class ZImageTransformer2DModel:
    """Takes what Z-Image takes, and answers with its latents."""

    def __call__(self, x, t, cap_feats):
      given.extend(cap_feats)
      return types.SimpleNamespace(sample=x)

  lengths = (301, 7, 512)
  mask = torch.tensor([[1.0] * n + [0.0] * (512 - n) for n in lengths])
  embeds = text_encoders.PromptEmbeds(torch.zeros(3, 512, 4), mask)
  denoisers.run(
    ZImageTransformer2DModel(),
    torch.zeros(3, 4, 2, 2, dtype=dtype),
    torch.full((3,), 500.0),
    embeds.to('cpu', dtype),
    64,
  )
  assert tuple(map(len, given)) == lengths
