"""Flux in one file: its authors' names, and ComfyUI's around them."""

import inspect
import json
import pathlib
import shutil

import diffusers
from diffusers.loaders import single_file_utils
import pytest
import safetensors.torch
import torch

from mmdist.priors import checkpoint_looks
from mmdist.priors import checkpoint_weights
from mmdist.priors import flux_looks
from mmdist.priors import locate
from mmdist.priors import pipeline as pipelines
from mmdist.priors import text_encoders
from tests.priors import tiny_checkpoints
from tests.priors import tiny_flux

pytestmark = pytest.mark.usefixtures('own_cache')
NETWORK = 'model.diffusion_model.'


@pytest.fixture(scope='module', name='written')
def fixture_written(tmp_path_factory):
  return tiny_checkpoints.write('flux', tmp_path_factory.mktemp('flux'))


def tiny_network(guidance=True):
  torch.manual_seed(0)
  network = diffusers.FluxTransformer2DModel(
    in_channels=16,
    num_layers=2,
    num_single_layers=3,
    attention_head_dim=16,
    num_attention_heads=2,
    joint_attention_dim=32,
    pooled_projection_dim=16,
    guidance_embeds=guidance,
    axes_dims_rope=(4, 6, 6),
  )
  for weight in network.parameters():
    torch.nn.init.normal_(weight, 0, 0.2)
  return network


def diffusers_conversion(state, width):
  """diffusers' own, which has the width of the published models written in."""
  name = 'convert_flux_transformer_checkpoint_to_diffusers'
  source = inspect.getsource(getattr(single_file_utils, name))
  fixed = 'inner_dim = 3072'
  assert source.count(fixed) == 1
  space = {'torch': torch}
  exec(source.replace(fixed, f'inner_dim = {width}'), space)
  return space[name](dict(state))


def loaded(file, network, prefix):
  """Returns the network that a file gives."""
  origin = checkpoint_weights.single_file.Origin(
    file, {'transformer': prefix}, {}, 'flux'
  )
  return checkpoint_weights.load(
    type(network), dict(network.config), 'transformer', origin, torch.float32
  )


@pytest.mark.parametrize('prefix', [NETWORK, ''])
@pytest.mark.parametrize('guidance', [True, False])
def test_weights_and_predictions_are_those_of_diffusers_conversion(
  tmp_path, prefix, guidance
):
  network = tiny_network(guidance)
  theirs = tiny_flux.authors_state(network)
  file = tmp_path / 'flux.safetensors'
  tiny_checkpoints.save({f'{prefix}{k}': v for k, v in theirs.items()}, file)
  header = {f'{prefix}{k}': {'shape': list(v.shape)} for k, v in theirs.items()}
  look = checkpoint_looks.look(file, header)
  assert (look.family, look.components) == ('flux', {'transformer': prefix})
  converted = diffusers_conversion(theirs, 32)
  found = loaded(file, network, prefix)
  weights = found.state_dict()
  assert converted.keys() == weights.keys()
  for name, weight in converted.items():
    assert torch.equal(weights[name], weight), name
  network.load_state_dict(converted)
  inputs = {
    'hidden_states': torch.randn(2, 4, 16),
    'timestep': torch.tensor([0.3, 0.7]),
    'guidance': torch.full((2,), 3.5) if guidance else None,
    'encoder_hidden_states': torch.randn(2, 5, 32),
    'pooled_projections': torch.randn(2, 16),
    'img_ids': torch.rand(4, 3),
    'txt_ids': torch.zeros(5, 3),
  }
  with torch.no_grad():
    expected, got = network(**inputs).sample, found(**inputs).sample
  assert expected.abs().max() > 0.01
  torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  'guidance, numbers', [(True, 11_901_408_320), (False, 11_891_178_560)]
)
def test_the_published_sizes_are_told_from_shapes(guidance, numbers):
  """Shapes only: 12 billion numbers have no memory."""
  with torch.device('meta'):
    network = diffusers.FluxTransformer2DModel(guidance_embeds=guidance)
  theirs = tiny_flux.authors_state(network)
  header = {name: {'shape': list(w.shape)} for name, w in theirs.items()}
  config = flux_looks.config_of('file', flux_looks.shapes_of(header))
  with torch.device('meta'):
    ours = checkpoint_weights._build(type(network), config)
  wanted = {name: w.shape for name, w in network.state_dict().items()}
  assert {name: w.shape for name, w in ours.state_dict().items()} == wanted
  assert sum(w.numel() for w in ours.parameters()) == numbers
  assert tuple(ours.config.axes_dims_rope) == network.config.axes_dims_rope
  renamed = checkpoint_weights._rename('transformer', theirs, ours, config, '')
  assert {name: w.shape for name, w in renamed.items()} == wanted
  converted = diffusers_conversion(theirs, 3072)
  assert {name: w.shape for name, w in converted.items()} == wanted


def predicted(directory):
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  generator = torch.Generator().manual_seed(0)
  embeds = pipeline.text.encode(['a happy man', 'a sad man'])
  assert isinstance(embeds, text_encoders.PromptEmbeds)
  with torch.no_grad():
    return pipelines.predict(
      pipeline,
      torch.randn(2, 4, 8, 8, generator=generator),
      torch.tensor([300, 700]),
      embeds,
    )


@pytest.mark.parametrize('prefix', [NETWORK, ''])
def test_a_transformer_alone_has_the_rest_from_its_base(
  written, tmp_path, prefix
):
  directory, file, _ = written
  alone = tmp_path / 'flux1-dev.safetensors'
  state = safetensors.torch.load_file(file)
  tiny_checkpoints.save(
    {
      f'{prefix}{name.removeprefix(NETWORK)}': weight
      for name, weight in state.items()
      if name.startswith(NETWORK)
    },
    alone,
  )
  laid = locate.locate(str(alone), str(directory))
  torch.testing.assert_close(
    predicted(laid), predicted(directory), rtol=1e-5, atol=1e-5
  )


def test_a_bare_network_may_lie_beside_its_other_parts(written, tmp_path):
  directory, file, base = written
  bare = tmp_path / 'bare.safetensors'
  state = safetensors.torch.load_file(file)
  tiny_checkpoints.save(
    {name.removeprefix(NETWORK): weight for name, weight in state.items()}, bare
  )
  laid = locate.locate(str(bare), str(base))
  torch.testing.assert_close(
    predicted(laid), predicted(directory), rtol=1e-5, atol=1e-5
  )


def error_of(file, base=''):
  with pytest.raises(ValueError) as caught:
    locate.locate(str(file), str(base))
  message = str(caught.value)
  assert '\n' not in message and str(file) in message
  return message


def test_without_a_base_one_line_says_all_that_is_missing(written, tmp_path):
  _, file, base = written
  message = error_of(file)
  assert 'is a checkpoint of Flux, and holds no tokenizer, and does not' in (
    message
  )
  assert '--config.priors.NAME.base=DIR, which has tokenizer/, ' in message
  assert 'tokenizer_2/ and scheduler/scheduler_config.json.' in message
  alone = tmp_path / 'alone.safetensors'
  state = safetensors.torch.load_file(file)
  tiny_checkpoints.save(
    {k: v for k, v in state.items() if k.startswith(NETWORK)}, alone
  )
  message = error_of(alone)
  assert 'Flux without its vae, text_encoder and text_encoder_2, and' in message
  assert 'which has vae/, text_encoder/, text_encoder_2/, tokenizer/' in message
  some = pathlib.Path(shutil.copytree(base, tmp_path / 'some'))
  shutil.rmtree(some / 'scheduler')
  message = error_of(file, some)
  assert 'in which dev and schnell differ' in message
  assert message.endswith('DIR, which has scheduler/scheduler_config.json.')


def test_a_base_of_another_flux_is_refused_before_weights_are_read(
  written, tmp_path
):
  _, file, base = written
  other = pathlib.Path(shutil.copytree(base, tmp_path / 'other'))
  path = other / 'transformer' / 'config.json'
  config = json.loads(path.read_text())
  for name, value, words in (
    ('guidance_embeds', False, 'with guidance_embeds True, and'),
    ('num_single_layers', 38, 'with num_single_layers 1, and'),
  ):
    path.write_text(json.dumps(config | {name: value}))
    message = error_of(file, other)
    assert words in message and f'{path} has {value}' in message


def test_heads_of_unknown_places_need_a_config(written, tmp_path):
  _, file, base = written
  bare = pathlib.Path(shutil.copytree(base, tmp_path / 'bare'))
  shutil.rmtree(bare / 'transformer')
  assert 'whose heads have 16 numbers' in error_of(file, bare)


def test_a_flux_that_is_given_an_image_is_no_prior(written, tmp_path):
  _, file, base = written
  state = safetensors.torch.load_file(file)
  name = f'{NETWORK}img_in.weight'
  fill = tmp_path / 'fill.safetensors'
  tiny_checkpoints.save(state | {name: torch.ones(32, 96)}, fill)
  assert 'is given an image' in error_of(fill, base)


@pytest.mark.parametrize(
  'mark, words',
  [
    ('distilled_guidance_layer.in_proj.weight', 'looks like Chroma'),
    ('double_stream_modulation_img.lin.weight', 'looks like Flux 2'),
  ],
)
def test_relatives_are_told_apart(written, tmp_path, mark, words):
  _, file, base = written
  state = safetensors.torch.load_file(file)
  other = tmp_path / 'other.safetensors'
  tiny_checkpoints.save(state | {f'{NETWORK}{mark}': torch.ones(2, 2)}, other)
  assert words in error_of(other, base)


def test_a_weight_too_many_or_too_few_is_named(written, tmp_path):
  _, file, base = written
  state = safetensors.torch.load_file(file)
  broken = tmp_path / 'broken.safetensors'
  lost = f'{NETWORK}single_blocks.0.linear2.bias'
  for tensors, words in (
    ({k: v for k, v in state.items() if k != lost}, 'transformer lacks 1'),
    (state | {f'{NETWORK}vector_in.more': torch.ones(3)}, 'has 1 weights that'),
    (
      state | {f'{NETWORK}single_blocks.0.linear1.bias': torch.ones(3)},
      'does not fit',
    ),
  ):
    tiny_checkpoints.save(tensors, broken)
    laid = locate.locate(str(broken), str(base))
    with pytest.raises(ValueError, match=words):
      pipelines.open_pipeline(laid, device='cpu')
