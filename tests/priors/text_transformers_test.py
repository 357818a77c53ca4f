"""Transformers whose texts are read by other encoders than CLIP and T5.

What diffusers' own pipelines ask of the same tiny random weights is the oracle,
for texts of different lengths and for the empty one.
"""

import dataclasses
import inspect

import diffusers
import numpy as np
import pytest
from safetensors import torch as torch_files
import torch
from torch.nn import functional

from mmdist.core import messages
from mmdist.priors import checks
from mmdist.priors import denoisers
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from tests.priors import tiny
from tests.priors import tiny_chats
from tests.priors import tiny_families

FAMILIES = ('auraflow', 'sana', 'z_image', 'qwen_image')
# A layer of each network that adapters change, as diffusers calls it.
LAYERS = {
  'auraflow': 'single_transformer_blocks.0.attn.to_q',
  'sana': 'transformer_blocks.1.attn2.to_k',
  'z_image': 'layers.0.attention.to_out.0',
  'qwen_image': 'transformer_blocks.0.attn.add_k_proj',
}
MODELS = {
  'auraflow': 'AuraFlow',
  'sana': 'Sana',
  'z_image': 'Z-Image',
  'qwen_image': 'Qwen-Image',
}
OFFICIAL = {
  'auraflow': diffusers.AuraFlowPipeline,
  'sana': diffusers.SanaPipeline,
  'z_image': diffusers.ZImagePipeline,
  'qwen_image': diffusers.QwenImagePipeline,
}
TEXTS = ('a happy man', 'a man, a sad man, happy, happy', '')
# Two float32 paths through one network: batches sum in other orders. Numbers of
# a layer before the last have any size.
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-5}
TIME = 700


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('text_transformers')
  return {
    family: tiny_families.write(family, folder / family) for family in FAMILIES
  }


@pytest.fixture(scope='module', name='opened')
def fixture_opened(directories):
  return {
    family: pipelines.open_pipeline(directories[family], 'float32', 'cpu')
    for family in FAMILIES
  }


@pytest.fixture(scope='module', name='officials')
def fixture_officials(directories):
  return {
    family: OFFICIAL[family].from_pretrained(directories[family])
    for family in FAMILIES
  }


def of_auraflow(pipe, texts, noisy, time):
  embeds, *_ = pipe.encode_prompt(
    list(texts), do_classifier_free_guidance=False
  )
  noise_pred = pipe.transformer(
    noisy, encoder_hidden_states=embeds, timestep=time / 1000
  ).sample
  return list(embeds), noise_pred


def of_sana(pipe, texts, noisy, time):
  said, mask, empty, empty_mask = pipe.encode_prompt(
    [text for text in texts if text],
    negative_prompt='',
    complex_human_instruction=inspect.signature(pipe.__call__)
    .parameters['complex_human_instruction']
    .default,
  )
  # The last text is the empty one.
  embeds = torch.cat([said, empty[:1]])
  masks = torch.cat([mask, empty_mask[:1]])
  noise_pred = pipe.transformer(
    noisy,
    encoder_hidden_states=embeds,
    encoder_attention_mask=masks,
    timestep=time * pipe.transformer.config.timestep_scale,
  ).sample
  return [e[m > 0] for e, m in zip(embeds, masks)], noise_pred


def of_z_image(pipe, texts, noisy, time):
  embeds, _ = pipe.encode_prompt(list(texts), do_classifier_free_guidance=False)
  velocities = pipe.transformer(
    list(noisy.unsqueeze(2)), (1000 - time) / 1000, embeds
  ).sample
  return embeds, -torch.stack(velocities).squeeze(2)


def of_qwen_image(pipe, texts, noisy, time):
  embeds, masks = pipe.encode_prompt(list(texts), max_sequence_length=512)
  batch, channels, height, width = noisy.shape
  tokens = pipe.transformer(
    hidden_states=pipe._pack_latents(noisy, batch, channels, height, width),
    timestep=time / 1000,
    encoder_hidden_states=embeds,
    encoder_hidden_states_mask=masks,
    img_shapes=[[(1, height // 2, width // 2)]] * batch,
  ).sample
  factor = pipe.vae_scale_factor
  noise_pred = pipe._unpack_latents(
    tokens, factor * height, factor * width, factor
  )
  return [e[m > 0] for e, m in zip(embeds, masks)], noise_pred[:, :, 0]


ORACLES = {
  'auraflow': of_auraflow,
  'sana': of_sana,
  'z_image': of_z_image,
  'qwen_image': of_qwen_image,
}


def texts_of(pipeline, texts):
  """Returns what a network sees of each text: its tokens, no padding."""
  read = pipeline.text.encode(texts)
  if read.pooled is None:
    return list(read.sequence)
  return [s[m > 0] for s, m in zip(read.sequence, read.pooled)]


@pytest.mark.parametrize('family', FAMILIES)
def test_texts_and_predictions_are_those_of_the_official_pipeline(
  opened, officials, family
):
  pipeline = opened[family]
  channels = pipeline.codec.encode(torch.zeros(1, 3, 16, 16)).shape[1]
  size = 16 // pipeline.codec.factor
  noisy = torch.randn(
    len(TEXTS),
    channels,
    size,
    size,
    generator=torch.Generator().manual_seed(0),
  )
  index = (pipeline.schedule.times - TIME).abs().argmin()
  time = pipeline.schedule.times[index].repeat(len(TEXTS))
  with torch.no_grad():
    embeds, expected = ORACLES[family](officials[family], TEXTS, noisy, time)
    noise_pred = pipelines.predict(
      pipeline,
      noisy,
      index.repeat(len(TEXTS)),
      pipeline.text.encode(TEXTS),
    )
  for ours, theirs in zip(texts_of(pipeline, TEXTS), embeds, strict=True):
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
  torch.testing.assert_close(noise_pred, expected, **TOLERANCE)
  # The text is heard.
  repeated = noisy[:1].repeat(2, 1, 1, 1)
  with torch.no_grad():
    heard = pipelines.predict(
      pipeline, repeated, index.repeat(2), pipeline.text.encode(TEXTS[1:])
    )
  assert (heard[0] - heard[1]).abs().max() > 1e-3


# What switches guidance off in a whole call.
UNGUIDED = {
  'auraflow': {'guidance_scale': 1.0},
  'z_image': {'guidance_scale': 0.0},
  'qwen_image': {'true_cfg_scale': 1.0},
}


@pytest.mark.parametrize('family', UNGUIDED)
def test_the_steps_of_a_whole_call_are_ours(opened, directories, family):
  """Sana's sampler rounds times down; its levels have a test of their own."""
  pipe = OFFICIAL[family].from_pretrained(directories[family])
  pipe.set_progress_bar_config(disable=True)
  steps = []
  step = pipe.scheduler.step

  def record(model_output, timestep, sample, **kwargs):
    steps.append((model_output, timestep, sample))
    return step(model_output, timestep, sample, **kwargs)

  pipe.scheduler.step = record
  pipe(
    TEXTS[0],
    num_inference_steps=3,
    height=16,
    width=16,
    generator=torch.Generator().manual_seed(0),
    output_type='latent',
    **UNGUIDED[family],
  )
  pipeline = opened[family]
  for expected, time, noisy in steps:
    if noisy.ndim == 3:  # Tokens.
      expected, noisy = (
        functional.pixel_shuffle(tokens.mT.unflatten(2, (4, 4)), 2)
        for tokens in (expected, noisy)
      )
    with torch.no_grad():
      found = denoisers.run(
        pipeline.denoiser,
        noisy,
        time.repeat(1),
        pipeline.text.encode(TEXTS[:1]),
        pipeline.image_size,
      )
    torch.testing.assert_close(found, expected, **TOLERANCE)
    # And the schedule has that time, at that level.
    distance, index = (pipeline.schedule.times - time).abs().min(0)
    assert distance < 0.8  # Of 1000.
    level = float(pipeline.schedule.noise[index])
    assert abs(1000 * level - float(time)) < 1


def encoded_by(vae, pixels):
  if isinstance(vae, diffusers.AutoencoderKLQwenImage):
    mean, std = (
      torch.tensor(numbers)[:, None, None]
      for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    latents = vae.encode(pixels[:, :, None]).latent_dist.mean[:, :, 0]
    return (latents - mean) / std
  encoded = vae.encode(pixels)
  if isinstance(vae, diffusers.AutoencoderDC):
    return encoded.latent * vae.config.scaling_factor
  latents = encoded.latent_dist.mean - (vae.config.shift_factor or 0)
  return latents * vae.config.scaling_factor


def decoded_by(vae, latents):
  if isinstance(vae, diffusers.AutoencoderKLQwenImage):
    mean, std = (
      torch.tensor(numbers)[:, None, None]
      for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    return vae.decode((latents * std + mean)[:, :, None]).sample[:, :, 0]
  latents = latents / vae.config.scaling_factor
  return vae.decode(latents + (vae.config.get('shift_factor') or 0)).sample


@pytest.mark.parametrize('family', FAMILIES)
def test_images_become_the_latents_of_the_official_pipeline(
  opened, officials, family
):
  pipeline, vae = opened[family], officials[family].vae
  pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
  pixels = 2 * pixels - 1
  with torch.no_grad():
    latents = pipeline.codec.encode(pixels)
    torch.testing.assert_close(latents, encoded_by(vae, pixels), **TOLERANCE)
    torch.testing.assert_close(
      pipeline.codec.decode(latents), decoded_by(vae, latents), **TOLERANCE
    )


@pytest.mark.parametrize('family', FAMILIES)
def test_an_adapter_of_a_text_encoder_is_merged(directories, family, tmp_path):
  layer = 'layers.0.self_attn.q_proj'
  if family == 'auraflow':
    layer = 'encoder.block.0.layer.0.SelfAttention.q'
  path = tmp_path / 'words.safetensors'
  down, up = torch.ones(2, tiny_chats.WIDTH), torch.ones(tiny_chats.WIDTH, 2)
  down[0], up[0] = 2, 3
  if family == 'auraflow':
    up = up[:16]
  names = {'lora_A': down, 'lora_B': up}
  torch_files.save_file(
    {f'text_encoder.{layer}.{n}.weight': v for n, v in names.items()}, path
  )
  checks.check_prior(directories[family], ['a man'], str(path))
  plain, changed = (
    pipelines.open_pipeline(directories[family], 'float32', 'cpu', lora=lora)
    .text.readers[0]
    .text_encoder
    for lora in ('', str(path))
  )
  weights = dict(plain.named_parameters())
  moved = {
    name: weight - weights[name]
    for name, weight in changed.named_parameters()
    if not torch.equal(weight, weights[name])
  }
  ((name, change),) = moved.items()
  assert name.endswith(f'{layer}.weight')
  torch.testing.assert_close(change, up @ down, rtol=0, atol=1e-5)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('prefix', ['transformer.', 'base_model.model.'])
def test_an_adapter_in_diffusers_or_pefts_names_is_merged(
  directories, opened, family, prefix, tmp_path
):
  layer = LAYERS[family]
  before = opened[family].denoiser.get_submodule(layer).weight
  generator = torch.Generator().manual_seed(0)
  down = torch.randn(2, before.shape[1], generator=generator)
  up = torch.randn(before.shape[0], 2, generator=generator)
  path = tmp_path / 'hat.safetensors'
  parts = {'lora_A.weight': down, 'lora_B.weight': up}
  if prefix.startswith('base'):
    parts['alpha'] = torch.tensor(2.0)
  torch_files.save_file(
    {f'{prefix}{layer}.{part}': value for part, value in parts.items()}, path
  )
  checks.check_prior(directories[family], ['a man'], [(str(path), 0.5)])
  pipeline = pipelines.open_pipeline(
    directories[family], 'float32', 'cpu', loras=[(str(path), 0.5)]
  )
  after = pipeline.denoiser.get_submodule(layer).weight
  torch.testing.assert_close(after, before + 0.5 * up @ down)


@pytest.mark.parametrize('family', FAMILIES)
def test_an_adapter_of_another_model_is_told_which_prior_it_is_for(
  directories, family, tmp_path
):
  path = tmp_path / 'hat.safetensors'
  name = 'transformer.double_stream_modulation_img.linear'
  torch_files.save_file(
    {
      f'{name}.lora_A.weight': torch.ones(2, 8),
      f'{name}.lora_B.weight': torch.ones(8, 2),
    },
    path,
  )
  line = f'looks like one of Flux 2, and the prior .* is {MODELS[family]}'
  with pytest.raises(ValueError, match=line):
    checks.check_prior(directories[family], ['a man'], str(path))


def test_the_levels_of_sana_are_those_of_its_scheduler(opened):
  schedule = opened['sana'].schedule
  scheduler = diffusers.DPMSolverMultistepScheduler(
    prediction_type='flow_prediction', use_flow_sigmas=True, flow_shift=3.0
  )
  scheduler.set_timesteps(20)
  for sigma, time in zip(scheduler.sigmas, scheduler.timesteps):
    distance, index = (schedule.noise - sigma).abs().min(0)
    assert distance < 2e-3  # Two levels side by side are 3 / 1000 apart.
    # The sampler rounds down to whole timesteps, besides.
    assert abs(schedule.times[index] - time) < 3
  assert schedule.prediction_type == 'flow' and len(schedule) == 1000


@pytest.mark.parametrize('family', FAMILIES)
def test_one_pass_of_mixed_adapters_is_two_passes(directories, family):
  answers = []
  for batched in (False, True):
    memory = messages.MemoryOptions(batched=batched)
    prior = priors.build(tiny.spec(directories[family], memory=memory))
    request = messages.ScoreRequest(
      step=0,
      seed=0,
      images=np.full((2, 16, 16, 3), 0.5, np.float32),
      noise_levels=np.float32([0.3, 0.7]),
      terms=(messages.Term(TEXTS[:2], TEXTS[0], 1.0, 5.0),),
      proxy_step=0,
      proxy_learning_rate=1e-2,
    )
    prior.score(request)
    prior.fit()
    request = dataclasses.replace(request, step=1, proxy_step=1)
    answers.append(prior.score(request).cotangent)
  assert np.abs(answers[0]).max() > 0
  # Float32 kernels of another batch size sum in another order.
  atol = 1e-4 * np.abs(answers[0]).max()
  np.testing.assert_allclose(*answers, rtol=0, atol=atol)
