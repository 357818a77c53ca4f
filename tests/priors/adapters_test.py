"""A user's own LoRA: merged as diffusers would apply it, or refused."""

import re

import diffusers
import numpy as np
import peft
import pytest
import safetensors.torch
import torch

from mmdist.priors import lora_files
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from tests.priors import tiny_families

PROMPT = 'a happy man'
SAVERS = {
  'sd1': diffusers.StableDiffusionPipeline,
  'sdxl': diffusers.StableDiffusionXLPipeline,
  'sd3': diffusers.StableDiffusion3Pipeline,
}


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('families')
  return {f: tiny_families.write(f, folder / f) for f in SAVERS}


def network_of(pipe):
  return pipe.unet if hasattr(pipe, 'unet') else pipe.transformer


def trained_lora(family, directory, out, with_text=False):
  """Saves a random LoRA with diffusers and returns the pipeline that has it."""
  pipe = SAVERS[family].from_pretrained(
    directory,
    **(
      {'safety_checker': None, 'feature_extractor': None}
      if family == 'sd1'
      else {}
    ),
  )
  targets = ['to_q', 'to_v']
  network = network_of(pipe)
  config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets)
  network.add_adapter(config)
  modules = {'unet' if family != 'sd3' else 'transformer': network}
  if with_text:
    pipe.text_encoder.add_adapter(
      peft.LoraConfig(r=2, lora_alpha=2, target_modules=['q_proj'])
    )
    modules['text_encoder'] = pipe.text_encoder
  torch.manual_seed(0)
  layers = {}
  for name, module in modules.items():
    for key, weight in module.named_parameters():
      if 'lora_B' in key:
        weight.data.normal_(0, 0.3)
    layers[f'{name}_lora_layers'] = peft.get_peft_model_state_dict(module)
    if name != 'text_encoder':
      layers[f'{name}_lora_adapter_metadata'] = config.to_dict()
  SAVERS[family].save_lora_weights(out, **layers)
  return pipe


def predict(pipeline):
  generator = torch.Generator().manual_seed(0)
  channels = pipeline.denoiser.config.in_channels
  noisy = torch.randn(1, channels, 8, 8, generator=generator)
  return pipelines.predict(
    pipeline, noisy, torch.tensor([500]), pipeline.text.encode([PROMPT])
  )


def open_with(directory, lora, scale=1.0):
  return pipelines.open_pipeline(
    directory, 'float32', 'cpu', lora=str(lora), lora_scale=scale
  )


@pytest.mark.parametrize('family', SAVERS)
def test_a_merged_lora_is_the_one_diffusers_runs(directories, family, tmp_path):
  directory = directories[family]
  pipe = trained_lora(family, directory, tmp_path)
  (path,) = tmp_path.glob('*.safetensors')
  with torch.no_grad():
    plain = predict(pipelines.open_pipeline(directory, 'float32', 'cpu'))
    merged = open_with(directory, path)
    ours = predict(merged)
    # Theirs: the unmerged adapter, in a pipeline of ours.
    bare = pipelines.open_pipeline(directory, 'float32', 'cpu')
    object.__setattr__(bare, 'denoiser', network_of(pipe))
    theirs = predict(bare)
  assert (ours - plain).abs().max() > 1e-3
  # W + B A against W x + B (A x), in float32.
  torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-5)
  assert not any('lora' in name for name, _ in merged.denoiser.named_modules())
  proxies.Proxy(merged.denoiser)  # Nothing is in the proxy's way.


def test_the_text_encoders_part_is_merged_too(directories, tmp_path):
  directory = directories['sd1']
  pipe = trained_lora('sd1', directory, tmp_path, with_text=True)
  (path,) = tmp_path.glob('*.safetensors')
  merged = open_with(directory, path)
  ids = merged.text.readers[0].tokenizer(
    PROMPT, padding='max_length', max_length=16, return_tensors='pt'
  )['input_ids']
  with torch.no_grad():
    theirs = pipe.text_encoder(ids).last_hidden_state
  ours = merged.text.encode([PROMPT]).sequence
  plain = pipelines.open_pipeline(directory, 'float32', 'cpu')
  assert (ours - plain.text.encode([PROMPT]).sequence).abs().max() > 1e-3
  torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-5)


def as_kohya(path, out):
  """Writes a LoRA of diffusers with Kohya's names and alphas."""
  rooms = {'unet': 'lora_unet', 'text_encoder': 'lora_te'}
  kohya = {}
  for key, weight in safetensors.torch.load_file(path).items():
    name, layer, part = re.fullmatch(
      r'(\w+?)\.(.+)\.(lora_A|lora_B|lora_linear_layer\.\w+)\.weight', key
    ).groups()
    if name == 'text_encoder':  # As transformers had it until lately.
      layer = f'text_model.{layer}'
    layer = f'{rooms[name]}_{layer.replace(".", "_")}'
    is_down = part in ('lora_A', 'lora_linear_layer.down')
    kohya[f'{layer}.{"lora_down" if is_down else "lora_up"}.weight'] = weight
    # As `trained_lora` has them.
    alpha = 4.0 if name == 'unet' else 2.0
    kohya[f'{layer}.alpha'] = torch.tensor(alpha)
  safetensors.torch.save_file(kohya, out)
  return out


def test_a_lora_of_kohya_is_the_same(directories, tmp_path):
  trained_lora('sd1', directories['sd1'], tmp_path, with_text=True)
  path = tmp_path / 'pytorch_lora_weights.safetensors'
  kohya = as_kohya(path, tmp_path / 'kohya.safetensors')
  expected = predict(open_with(directories['sd1'], path))
  found = predict(open_with(directories['sd1'], kohya))
  plain = predict(pipelines.open_pipeline(directories['sd1'], 'float32', 'cpu'))
  torch.testing.assert_close(found, expected)
  assert (found - plain).abs().max() > 1e-3


def test_names_of_an_older_transformers_are_read(directories, tmp_path):
  trained_lora('sd1', directories['sd1'], tmp_path, with_text=True)
  path = tmp_path / 'pytorch_lora_weights.safetensors'
  with safetensors.safe_open(path, 'pt') as file:
    metadata = file.metadata()
  weights = {
    re.sub('^text_encoder.', 'text_encoder.text_model.', key): weight
    for key, weight in safetensors.torch.load_file(path).items()
  }
  older = tmp_path / 'older.safetensors'
  safetensors.torch.save_file(weights, older, metadata)
  torch.testing.assert_close(
    predict(open_with(directories['sd1'], older)),
    predict(open_with(directories['sd1'], path)),
  )


def test_the_scale_counts_and_zero_is_nothing(directories, tmp_path):
  directory = directories['sd1']
  trained_lora('sd1', directory, tmp_path)
  (path,) = tmp_path.glob('*.safetensors')
  weights = [
    open_with(directory, path, scale).denoiser.state_dict()
    for scale in (0.0, 1.0, 2.0)
  ]
  plain = pipelines.open_pipeline(directory, 'float32', 'cpu')
  for name, weight in plain.denoiser.state_dict().items():
    zero, one, two = (w[name] for w in weights)
    assert torch.equal(zero, weight)
    torch.testing.assert_close(two - weight, 2 * (one - weight))


def test_the_dtype_is_that_of_the_spec(directories, tmp_path):
  directory = directories['sd1']
  trained_lora('sd1', directory, tmp_path)
  (path,) = tmp_path.glob('*.safetensors')
  pipeline = pipelines.open_pipeline(
    directory, 'bfloat16', 'cpu', lora=str(path)
  )
  assert pipeline.denoiser.dtype == torch.bfloat16


def resave(path, change):
  state = safetensors.torch.load_file(path)
  safetensors.torch.save_file(
    {k: v.contiguous() for k, v in change(state).items()}, path
  )


@pytest.mark.parametrize(
  'change, words',
  [
    (
      lambda s: {
        k: torch.zeros(v.shape[0], v.shape[1] + 1) if 'lora_A' in k else v
        for k, v in s.items()
      },
      'does not fit the model',
    ),
    (
      lambda s: {k.replace('to_q', 'to_queue'): v for k, v in s.items()},
      'is of another model: there is no layer unet.',
    ),
    (
      lambda s: {k.replace('unet.', 'prior.'): v for k, v in s.items()},
      'is of another model: there is no layer prior.',
    ),
    (lambda s: {'numbers': torch.zeros(3)}, 'is of another model'),
    (
      lambda s: {k: torch.full_like(v, torch.nan) for k, v in s.items()},
      'does not fit the model: NaN',
    ),
  ],
)
def test_a_lora_of_another_model_is_refused(
  directories, tmp_path, change, words
):
  directory = directories['sd1']
  trained_lora('sd1', directory, tmp_path)
  (path,) = tmp_path.glob('*.safetensors')
  resave(path, change)
  with pytest.raises(ValueError) as caught:
    open_with(directory, path)
  assert words in str(caught.value) and str(path) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_a_lora_file_that_is_none_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match='is not a file'):
    lora_files.check_lora(tmp_path / 'lora.safetensors')
  path = tmp_path / 'lora.bin'
  path.write_bytes(b'')
  with pytest.raises(ValueError, match='is not .safetensors; a pickled'):
    lora_files.check_lora(path)
  path = tmp_path / 'lora.safetensors'
  path.write_bytes(np.zeros(9, np.uint8).tobytes())
  with pytest.raises(ValueError, match='is corrupt'):
    lora_files.check_lora(path)
