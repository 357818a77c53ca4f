"""Directories open, and say in one line what is wrong with them."""

import json
import shutil

import diffusers
import pytest
import safetensors.torch
import torch

from mmdist.core import errors
from mmdist.priors import attention
from mmdist.priors import image_codec
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('source'))


@pytest.fixture
def broken(source, tmp_path):
  """A copy that a test may break."""
  return shutil.copytree(source, tmp_path / 'broken')


def _open(directory, **kwargs):
  return pipelines.open_pipeline(directory, device='cpu', **kwargs)


def _error(directory):
  with pytest.raises((FileNotFoundError, ValueError)) as caught:
    _open(directory)
  message = str(caught.value)
  assert '\n' not in message
  return message


def test_everything_is_frozen_and_as_recorded(source):
  pipeline = _open(source)
  assert pipeline.image_size == 16
  assert pipeline.codec == image_codec.PixelCodec(2)
  assert pipeline.settings['identifier_tokens']['normal'] == '[w]'
  assert pipeline.text.readers[0].length == tiny.LENGTH
  assert pipeline.schedule.prediction_type == 'v_prediction'
  for module in (pipeline.denoiser, pipeline.text.modules[0]):
    assert not module.training
    assert not any(w.requires_grad for w in module.parameters())


def test_a_network_computes_in_the_dtype_asked_for(source):
  assert _open(source, dtype='bfloat16').denoiser.dtype == torch.bfloat16
  assert (
    _open(source, dtype='bfloat16', train=True).denoiser.dtype == torch.float32
  )
  with pytest.raises(ValueError, match="did you mean 'bfloat16'"):
    _open(source, dtype='bfloat61')


@pytest.mark.parametrize(
  'device, words',
  [('gpu', 'cuda, cuda:NUMBER or mps'), ('cuda', 'no CUDA device')],
)
def test_a_device_that_is_not_there_is_one_line(
  source, monkeypatch, device, words
):
  monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
  with pytest.raises(errors.UserError, match=f"device is '{device}'.*{words}"):
    pipelines.open_pipeline(source, device=device)


@pytest.mark.parametrize('codec', ['pixel_unshuffle', 'identity'])
def test_pixel_codecs_are_undone_exactly(tmp_path, codec):
  pipeline = _open(tiny.write_pipeline(tmp_path, codec=codec))
  pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator()) * 2 - 1
  latents = pipeline.codec.encode(pixels)
  assert latents.shape[1] == pipeline.denoiser.config.in_channels
  assert torch.equal(pipeline.codec.decode(latents), pixels)


def test_a_vae_directory_needs_no_settings(tmp_path):
  pipeline = _open(tiny.write_pipeline(tmp_path, codec='vae'))
  vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / 'vae')
  images = torch.rand(1, 16, 16, 3, generator=torch.Generator())
  latents = pipelines.encode_images(pipeline, images)
  pixels = 2 * images.permute(0, 3, 1, 2) - 1
  expected = vae.encode(pixels).latent_dist.mode() * 0.18215
  assert pipeline.image_size == 16
  assert pipeline.settings == {}
  # Autograd's graph apart, the same convolutions.
  torch.testing.assert_close(latents, expected.detach(), rtol=0, atol=1e-6)
  assert pipeline.codec.decode(latents).shape == (1, 3, 16, 16)


def test_images_are_resized_to_what_the_network_knows(source):
  pipeline = _open(source)
  grey = torch.full((2, 40, 40, 3), 0.75)
  latents = pipelines.encode_images(pipeline, grey)
  assert latents.shape == (2, 12, 8, 8)
  torch.testing.assert_close(latents, torch.full_like(latents, 0.5))


def test_the_prediction_is_the_networks(source):
  pipeline = _open(source)
  noisy = torch.randn(2, 12, 8, 8, generator=torch.Generator())
  timestep = torch.tensor([3, 700])
  prompt_embeds = pipeline.text.encode(['a happy man', 'a hat'])
  unet = diffusers.UNet2DConditionModel.from_pretrained(source / 'unet')
  with torch.no_grad():
    ours = pipelines.predict(pipeline, noisy, timestep, prompt_embeds)
    theirs = unet(noisy, timestep, prompt_embeds.sequence).sample
  # Channels-last convolutions sum in another order; outputs are about 1.
  torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-5)


@pytest.mark.parametrize('codec', ['pixel_unshuffle', 'vae'])
def test_a_saved_pipeline_opens_as_the_same(tmp_path, codec):
  pipeline = _open(tiny.write_pipeline(tmp_path / 'a', codec=codec))
  pipelines.save_pipeline(pipeline, tmp_path / 'b', dtype='float32')
  again = _open(tmp_path / 'b')
  for name, weight in pipeline.denoiser.state_dict().items():
    assert torch.equal(weight, again.denoiser.state_dict()[name])
  assert again.settings == pipeline.settings
  assert again.codec.factor == pipeline.codec.factor
  texts = ['a happy man with a red hat']
  assert torch.equal(
    again.text.encode(texts).sequence, pipeline.text.encode(texts).sequence
  )
  assert torch.equal(again.schedule.signal, pipeline.schedule.signal)


def test_a_saved_pipeline_is_one_that_diffusers_opens(tmp_path, source):
  pipelines.save_pipeline(_open(source), tmp_path / 'b')
  theirs = diffusers.StableDiffusionPipeline.from_pretrained(
    tmp_path / 'b',
    vae=None,
    safety_checker=None,
    feature_extractor=None,
    use_safetensors=True,
  )
  assert theirs.scheduler.config.prediction_type == 'v_prediction'
  assert theirs.unet.config.in_channels == 12


def test_a_missing_directory_is_named(tmp_path):
  assert f'{tmp_path}/none does not exist' in _error(tmp_path / 'none')


@pytest.mark.parametrize(
  'file',
  [
    'unet/config.json',
    'unet/diffusion_pytorch_model.safetensors',
    'text_encoder/model.safetensors',
    'scheduler/scheduler_config.json',
  ],
)
def test_a_missing_file_is_named(broken, file):
  (broken / file).unlink()
  assert f'{broken / file} is missing' in _error(broken)


def test_a_missing_tokenizer_is_named(broken):
  shutil.rmtree(broken / 'tokenizer')
  assert f'{broken}/tokenizer is missing' in _error(broken)


@pytest.mark.parametrize(
  'file',
  [
    'unet/diffusion_pytorch_model.safetensors',
    'text_encoder/model.safetensors',
  ],
)
def test_a_truncated_file_is_named(broken, file):
  content = (broken / file).read_bytes()
  (broken / file).write_bytes(content[: len(content) // 2])
  assert f'{broken / file} is corrupt' in _error(broken)


@pytest.mark.parametrize('content', ['{"a": ', '[1]'])
def test_corrupt_json_is_named(broken, content):
  (broken / 'unet' / 'config.json').write_text(content)
  assert 'unet/config.json is corrupt' in _error(broken)


def test_a_corrupt_tokenizer_is_named(broken):
  (broken / 'tokenizer' / 'tokenizer.json').write_text('{}')
  assert f'{broken}/tokenizer cannot be opened' in _error(broken)


def test_pickled_weights_are_refused(broken):
  weights = broken / 'unet' / 'diffusion_pytorch_model.safetensors'
  weights.rename(weights.with_suffix('.bin'))
  message = _error(broken)
  assert 'diffusion_pytorch_model.bin is pickled and could run code' in message


def test_a_missing_shard_is_named(broken):
  weights = broken / 'unet' / 'diffusion_pytorch_model.safetensors'
  index = {'weight_map': {'conv_in.weight': 'part-1.safetensors'}}
  weights.with_name(f'{weights.name}.index.json').write_text(json.dumps(index))
  assert 'unet/part-1.safetensors is missing' in _error(broken)


def test_weights_of_another_model_are_refused(broken):
  _change(broken / 'unet' / 'config.json', block_out_channels=[8, 32])
  assert 'unet does not fit UNet2DConditionModel' in _error(broken)


@pytest.mark.parametrize(
  'file',
  [
    'unet/diffusion_pytorch_model.safetensors',
    'text_encoder/model.safetensors',
  ],
)
def test_a_missing_weight_is_named(broken, file):
  weights = safetensors.torch.load_file(broken / file)
  name = min(weights)
  del weights[name]
  safetensors.torch.save_file(weights, broken / file, {'format': 'pt'})
  message = _error(broken)
  assert 'lacks 1 weights' in message
  assert name.removeprefix('text_model.') in message


def test_a_codec_that_does_not_fit_the_network_is_refused(broken):
  _change(broken / 'mmdist.json', factor=4)
  assert (
    'takes 12 channels, the image codec pixel_unshuffle makes 48'
    in _error(broken)
  )
  _change(broken / 'mmdist.json', factor=2, image_size=15)
  assert 'image_size 15 is no multiple' in _error(broken)
  _change(broken / 'mmdist.json', image_codec='jpeg')
  assert "has image_codec 'jpeg'; expected one of" in _error(broken)


def _change(path, **changes):
  path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_vae_of_few_latents_has_plain_attention_on_a_gpu():
  """With the same numbers; only there is the other one slow."""
  vae = diffusers.AutoencoderKL(
    block_out_channels=(8, 8), norm_num_groups=2, latent_channels=4
  ).eval()
  pixels = torch.rand(1, 3, 16, 16, generator=torch.manual_seed(0))
  fused = vae.encode(pixels).latent_dist.mean
  kinds = []
  for size, device in ((512, 'cpu'), (1024, 'cuda'), (16, 'cuda')):
    attention.choose_of_vae(vae, size, torch.device(device))
    kinds.append({type(p).__name__ for p in vae.attn_processors.values()})
  assert kinds == [
    {'AttnProcessor2_0'},
    {'AttnProcessor2_0'},
    {'AttnProcessor'},
  ]
  plain = vae.encode(pixels).latent_dist.mean
  torch.testing.assert_close(plain, fused, atol=1e-5, rtol=1e-4)
