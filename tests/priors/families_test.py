"""Each family against diffusers' own pipelines, on tiny random weights."""

import dataclasses
import json
import pathlib
import shutil

import diffusers
import numpy as np
import pytest
import torch
from torch.nn import functional

from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import checks
from mmdist.priors import families
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import score as scores
from tests.priors import tiny
from tests.priors import tiny_families

PROMPT = 'a happy man'
SCALE = 5.0
OFFICIAL = {
  'sd1': diffusers.StableDiffusionPipeline,
  'sd2': diffusers.StableDiffusionPipeline,
  'sdxl': diffusers.StableDiffusionXLPipeline,
  'if': diffusers.IFPipeline,
  'sd3': diffusers.StableDiffusion3Pipeline,
}
# Two float32 implementations of one network, channels-last and not, whose
# outputs are of size 1 and are then guided with a scale of 5.
TOLERANCE = {'rtol': 0, 'atol': 3e-5}


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('families')
  return {
    family: tiny_families.write(family, folder / family)
    for family in tiny_families.FAMILIES
  }


@pytest.fixture(name='broken')
def fixture_broken(directories, tmp_path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(directories['sdxl'], tmp_path / 'broken'))


def change(path: pathlib.Path, **fields) -> None:
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def error_of(directory) -> str:
  with pytest.raises((ValueError, FileNotFoundError)) as caught:
    checks.check_prior(directory, [PROMPT])
  assert '\n' not in str(caught.value)
  return str(caught.value)


@dataclasses.dataclass
class Call:
  """What an official pipeline asked of its network, and made of the answer."""

  noisy: torch.Tensor
  time: torch.Tensor
  guided: torch.Tensor


def official_call(family: str, directory) -> Call:
  """Runs diffusers' pipeline for two steps and returns the first one."""
  parts = (
    {'safety_checker': None, 'feature_extractor': None}
    if family in ('sd1', 'sd2', 'if')
    else {}
  )
  if family == 'if':
    parts['watermarker'] = None
  pipe = OFFICIAL[family].from_pretrained(directory, **parts)
  pipe.set_progress_bar_config(disable=True)
  network = pipe.transformer if family == 'sd3' else pipe.unet
  calls, answers = [], []

  def see(module, args, kwargs):
    del module
    noisy = kwargs['hidden_states'] if not args else args[0]
    time = kwargs['timestep'] if len(args) < 2 else args[1]
    calls.append((noisy.clone(), torch.as_tensor(time).reshape(-1)[0]))

  network.register_forward_pre_hook(see, with_kwargs=True)
  step = pipe.scheduler.step

  def record(model_output, *args, **kwargs):
    answers.append(model_output.clone())
    return step(model_output, *args, **kwargs)

  pipe.scheduler.step = record
  more = {} if family == 'if' else {'output_type': 'latent'}
  pipe(
    PROMPT,
    num_inference_steps=2,
    guidance_scale=SCALE,
    height=16,
    width=16,
    generator=torch.Generator().manual_seed(0),
    **more,
  )
  # The first: later, some samplers walk between the trained timesteps.
  noisy, time = calls[0]
  return Call(noisy[:1], time, answers[0][:, : noisy.shape[1]])


@pytest.mark.parametrize('family', OFFICIAL)
def test_a_call_of_the_official_pipeline_is_ours(directories, family):
  call = official_call(family, directories[family])
  pipeline = pipelines.open_pipeline(directories[family], 'float32', 'cpu')
  distance = (pipeline.schedule.times - call.time).abs()
  timestep = distance.argmin().reshape(1)
  assert distance.min() < 1e-3
  with torch.no_grad():
    noise_pred = pipelines.predict(
      pipeline,
      call.noisy.repeat(2, 1, 1, 1),
      timestep.repeat(2),
      pipeline.text.encode([PROMPT, '']),
    )
  wanted, empty = noise_pred.chunk(2)
  ours = empty + SCALE * (wanted - empty)
  assert (wanted - empty).abs().max() > 1e-3  # The text is heard.
  torch.testing.assert_close(ours, call.guided, **TOLERANCE)


def request_of(scale: float = SCALE, **changes) -> messages.ScoreRequest:
  rng = np.random.default_rng(0)
  request = messages.ScoreRequest(
    step=0,
    images=rng.random((2, 20, 20, 3), np.float32),
    terms=(messages.Term((PROMPT, 'a sad man'), 'a man', 1.0, scale),),
    noise_levels=np.float32([0.3, 0.7]),
    seed=7,
    proxy_step=0,
    proxy_learning_rate=1e-2,
  )
  return dataclasses.replace(request, **changes)


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_the_pixel_gradient_is_autograds(directories, family):
  """SDS through diffusers' own modules, with no code of ours but the noise."""
  directory = directories[family]
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  request = request_of()
  images = torch.tensor(request.images, requires_grad=True)
  pixels = functional.interpolate(
    images.permute(0, 3, 1, 2), (16, 16), mode='bilinear', antialias=True
  )
  latents = 2 * pixels - 1
  if (directory / 'vae').is_dir():
    vae = diffusers.AutoencoderKL.from_pretrained(directory / 'vae')
    shift = vae.config.shift_factor or 0.0
    latents = vae.encode(latents).latent_dist.mean - shift
    latents = latents * vae.config.scaling_factor
  elif family == 'pixels':
    latents = functional.pixel_unshuffle(latents, 2)
  rng = seeds.generator(request.seed, request.step, 'score noise')
  noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
  timestep = torch.from_numpy(np.round(request.noise_levels * 999)).long()
  schedule = pipeline.schedule
  a, s = (
    level[timestep][:, None, None, None]
    for level in (schedule.signal, schedule.noise)
  )
  noisy = (a * latents + s * noise).detach()
  texts = [*request.terms[0].prompts, '', '']
  with torch.no_grad():
    raw = pipelines.predict(
      pipeline,
      noisy.repeat(2, 1, 1, 1),
      timestep.repeat(2),
      pipeline.text.encode(texts),
    )
    wanted, empty = raw.chunk(2)
    guided = empty + SCALE * (wanted - empty)
    eps = {
      'epsilon': guided,
      'v_prediction': a * guided + s * noisy,
      'flow': noisy + a * guided,
    }[schedule.prediction_type]
    residual = s**2 * (eps - noise)
  (latents * residual).mean().backward()
  ours = scores.score(pipeline, None, request).cotangent
  scale = np.abs(ours).max()
  # Of relative size 1e-5: the encoder's backward pass sums in another order.
  np.testing.assert_allclose(ours, images.grad.numpy(), atol=3e-5 * scale)
  assert scale > 0


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_the_proxy_is_the_base_at_step_0_and_only_lora_moves(
  directories, family
):
  prior = priors.build(tiny.spec(directories[family]))
  network = prior.pipeline.denoiser
  frozen = {
    name: weight.clone()
    for name, weight in network.named_parameters()
    if name not in prior.proxy.parameters
  }
  # The same text for both, unguided: the residual is exactly zero.
  request = request_of(
    1.0, terms=(messages.Term(('a man',) * 2, 'a man', 1.0, 1.0),)
  )
  assert not prior.score(request).cotangent.any()
  before = {n: w.clone() for n, w in prior.proxy.parameters.items()}
  assert np.isfinite(prior.fit()['proxy_loss'])
  for name, weight in network.named_parameters():
    if name in frozen:
      assert torch.equal(weight, frozen[name]), name
  moved = [
    n for n, w in prior.proxy.parameters.items() if (w != before[n]).any()
  ]
  assert all('lora_B' in name for name in moved)  # A follows, B leaves zero.
  assert moved
  after = prior.score(dataclasses.replace(request, step=1, proxy_step=1))
  assert after.cotangent.any()


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_one_pass_of_mixed_adapters_is_two_passes(directories, family):
  answers = []
  for batched in (False, True):
    memory = messages.MemoryOptions(batched=batched)
    prior = priors.build(tiny.spec(directories[family], memory=memory))
    prior.score(request_of())
    prior.fit()
    request = request_of(step=1, proxy_step=1)
    answers.append(prior.score(request).cotangent)
    assert not any(layer._forward_pre_hooks for layer in prior.proxy._layers)
  # Float32 kernels of another batch size sum in another order.
  atol = 1e-4 * np.abs(answers[0]).max()
  np.testing.assert_allclose(*answers, rtol=0, atol=atol)


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_memory_options_change_no_number(directories, family):
  request = request_of()
  plain = pipelines.open_pipeline(directories[family], 'float32', 'cpu')
  expected = scores.score(plain, None, request).cotangent
  memory = messages.MemoryOptions(
    channels_last=False,
    checkpoint_encoder=False,
    attention_slicing=family != 'sd3',
    offload_text=True,
  )
  other = pipelines.open_pipeline(
    directories[family], 'float32', 'cpu', memory=memory
  )
  # Other memory formats and slices sum in another order.
  np.testing.assert_allclose(
    scores.score(other, None, request).cotangent,
    expected,
    rtol=0,
    atol=1e-4 * np.abs(expected).max(),
  )


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_a_saved_pipeline_opens_as_the_same_family(
  directories, family, tmp_path
):
  pipeline = pipelines.open_pipeline(directories[family], 'float32', 'cpu')
  pipelines.save_pipeline(pipeline, tmp_path / 'again', 'float32')
  again = pipelines.open_pipeline(tmp_path / 'again', 'float32', 'cpu')
  request = request_of()
  np.testing.assert_array_equal(
    scores.score(again, None, request).cotangent,
    scores.score(pipeline, None, request).cotangent,
  )
  assert again.index['_class_name'] == pipeline.index['_class_name']


def test_half_precision_files_are_found(directories, tmp_path):
  directory = shutil.copytree(directories['sd1'], tmp_path / 'half')
  for folder, stem in (
    ('unet', 'diffusion_pytorch_model'),
    ('vae', 'diffusion_pytorch_model'),
    ('text_encoder', 'model'),
  ):
    path = directory / folder / f'{stem}.safetensors'
    path.rename(path.with_name(f'{stem}.fp16.safetensors'))
  checks.check_prior(directory, [PROMPT])
  pipelines.open_pipeline(directory, 'float32', 'cpu')


def test_the_empty_text_of_sdxl_is_zero_if_it_says_so(directories, tmp_path):
  pipeline = pipelines.open_pipeline(directories['sdxl'], 'float32', 'cpu')
  prompt_embeds = pipeline.text.encode(['', PROMPT])
  assert (
    not prompt_embeds.sequence[0].any() and not prompt_embeds.pooled[0].any()
  )
  assert prompt_embeds.sequence[1].any() and prompt_embeds.pooled[1].any()
  directory = shutil.copytree(directories['sdxl'], tmp_path / 'said')
  change(directory / 'model_index.json', force_zeros_for_empty_prompt=False)
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  assert pipeline.text.encode(['']).sequence.any()


def test_sd3_without_t5_reads_zeros_in_its_place(directories, tmp_path):
  directory = shutil.copytree(directories['sd3'], tmp_path / 'no_t5')
  shutil.rmtree(directory / 'text_encoder_3')
  shutil.rmtree(directory / 'tokenizer_3')
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  whole = pipelines.open_pipeline(directories['sd3'], 'float32', 'cpu')
  prompt_embeds, expected = (p.text.encode([PROMPT]) for p in (pipeline, whole))
  assert prompt_embeds.sequence.shape == expected.sequence.shape
  length = tiny.LENGTH
  assert torch.equal(
    prompt_embeds.sequence[:, :length], expected.sequence[:, :length]
  )
  assert not prompt_embeds.sequence[:, length:].any()


@pytest.mark.parametrize('field, value, words', [
  ('_class_name', 'UNet3DConditionModel', 'declares UNet3DConditionModel'),
  ('class_embed_type', 'timestep', "class_embed_type='timestep'"),
  ('time_cond_proj_dim', 256, 'time_cond_proj_dim=256'),
  ('addition_embed_type', 'image', "addition_embed_type='image'"),
  ('in_channels', 9, 'takes 9 channels, the image codec vae makes 4'),
  ('out_channels', 5, 'makes 5 channels of 4'),
  ('sample_size', [8, 12], 'sample_size=[8, 12]'),
])  # fmt: skip
def test_a_network_that_is_no_prior_is_refused(broken, field, value, words):
  path = broken / 'unet' / 'config.json'
  change(path, **{field: value})
  message = error_of(broken)
  assert words in message and str(path) in message


def test_text_encoders_that_do_not_go_with_the_network_are_refused(broken):
  shutil.rmtree(broken / 'text_encoder_2')
  assert "addition_embed_type='text_time' and 1 text encoder" in error_of(
    broken
  )
  change(broken / 'text_encoder' / 'config.json', architectures=['BertModel'])
  assert 'declares BertModel; expected one of CLIP' in error_of(broken)
  shutil.rmtree(broken / 'text_encoder')
  assert 'with the text encoders none' in error_of(broken)


def test_code_in_a_directory_is_refused_and_not_run(broken, tmp_path):
  mark = tmp_path / 'ran'
  code = f"open({str(mark)!r}, 'w')"
  (broken / 'unet' / 'my_unet.py').write_text(code)
  assert 'my_unet.py is code, which mmdist never runs' in error_of(broken)
  (broken / 'unet' / 'my_unet.py').unlink()
  change(
    broken / 'text_encoder' / 'config.json',
    auto_map={'AutoModel': 'my_text.Model'},
  )
  assert 'code of its own (auto_map)' in error_of(broken)
  assert not mark.exists()


def test_directories_of_other_things_are_told_apart(tmp_path, directories):
  clip = directories['sd1'] / 'text_encoder'
  assert 'declares clip_text_model, which is not a whole' in error_of(clip)
  assert 'declares UNet2DConditionModel' in error_of(
    directories['sd1'] / 'unet'
  )
  single = tmp_path / 'single'
  single.mkdir()
  assert 'unet is missing; a prior is a diffusers directory' in error_of(single)
  assert 'does not exist' in error_of(tmp_path / 'nowhere')


@pytest.mark.parametrize('name', ['tokenizer', 'tokenizer_2', 'scheduler'])
def test_a_missing_folder_is_named(broken, name):
  shutil.rmtree(broken / name)
  assert f'{broken / name} is missing' in error_of(broken)


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_what_a_family_is_made_of(directories, family):
  read = families.read_family(directories[family])
  assert read.image_size == 16
  for component in read.components:
    assert (directories[family] / component).is_dir()
  assert ('vae' in read.components) == (family not in ('if', 'pixels'))
