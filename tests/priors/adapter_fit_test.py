"""Adapters of another model are refused before a network is built."""

import json
import pathlib
import subprocess
import sys

import diffusers
import pytest
import torch

from mmdist.priors import adapter_fit
from mmdist.priors import checkpoint_weights
from mmdist.priors import checks
from mmdist.priors import families
from mmdist.priors import ldm_shapes
from mmdist.priors import locate
from mmdist.priors import pipeline as pipelines
from mmdist.priors import single_file
from tests.priors import tiny_adapters as tiny
from tests.priors import tiny_checkpoints
from tests.priors import tiny_families

pytestmark = pytest.mark.usefixtures('own_cache')
TEXT = 'a happy man'
FAMILIES = (*tiny_families.FAMILIES, *tiny_families.TRANSFORMERS)


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('models')
  return {
    family: tiny_families.write(family, folder / family) for family in FAMILIES
  }


def pair(layer, rows, columns):
  return {
    f'{layer}.lora_down.weight': tiny.draw(2, columns),
    f'{layer}.lora_up.weight': tiny.draw(rows, 2),
  }


# As people's files have them.
LORAS = {
  'Stable Diffusion 1': pair(
    'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k',
    640,
    768,
  ),
  'Stable Diffusion 2': pair(
    'unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v',
    640,
    1024,
  ),
  'Stable Diffusion XL': pair(
    'lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q', 640, 640
  ),
  'Stable Diffusion 3': pair(
    'transformer.transformer_blocks.0.attn.to_q', 1536, 1536
  ),
  'Flux': pair('lora_unet_double_blocks_0_img_attn_qkv', 9216, 3072),
  'Qwen-Image': pair('transformer.transformer_blocks.59.attn.to_q', 3072, 3072),
}
# What the tiny families are, who have widths of their own.
PRIORS = {
  'sd1': 'a UNet2DConditionModel that sees texts of 16 numbers',
  'sdxl': 'Stable Diffusion XL',
  'if': 'DeepFloyd IF',
  'pixels': 'a UNet2DConditionModel that sees texts of 16 numbers',
  'sd3': 'Stable Diffusion 3',
  'flux': 'Flux',
  'pixart': 'PixArt',
}


def refused(directory, loras):
  """Returns the one line, without that any network was built."""
  with pytest.raises(ValueError) as caught:
    checks.check_prior(directory, [TEXT], loras)
  message = str(caught.value)
  assert '\n' not in message
  return message


@pytest.fixture(name='no_networks')
def fixture_no_networks(monkeypatch):
  def refuse(*_, **__):
    raise AssertionError('a network was built')

  monkeypatch.setattr(torch.nn.Module, '__init__', refuse)


@pytest.mark.parametrize('prior', PRIORS)
@pytest.mark.parametrize('model', LORAS)
def test_a_lora_of_another_model_is_refused_by_both_names(
  directories, no_networks, tmp_path, model, prior
):
  path = tiny.save(tmp_path / 'lora.safetensors', LORAS[model])
  message = refused(directories[prior], [(str(path), 1.0)])
  assert f'LoRA {path}' in message
  assert f'the prior {directories[prior]} is {PRIORS[prior]}' in message
  if model != PRIORS[prior]:
    assert f'it looks like one of {model}, and the prior' in message


@pytest.mark.parametrize(
  'width, model', [(768, 'Stable Diffusion 1'), (1024, 'Stable Diffusion 2')]
)
def test_a_unet_is_named_by_the_width_of_its_texts(
  directories, tmp_path, width, model
):
  path = directories['sd1'] / 'unet' / 'config.json'
  before = path.read_text()
  path.write_text(
    json.dumps(json.loads(before) | {'cross_attention_dim': width})
  )
  lora = tiny.save(tmp_path / 'x.safetensors', LORAS['Flux'])
  try:
    message = refused(directories['sd1'], [(str(lora), 1.0)])
  finally:
    path.write_text(before)
  assert message.endswith(
    f'it looks like one of Flux, and the prior {directories["sd1"]} is {model}.'
  )


def test_two_loras_of_different_models_are_both_named(
  directories, no_networks, tmp_path
):
  good = tiny.save(
    tmp_path / 'good.safetensors', pair(f'unet.{tiny.LINEAR}', 16, 16)
  )
  files = {
    model: tiny.save(tmp_path / f'{name}.safetensors', LORAS[model])
    for name, model in (('xl', 'Stable Diffusion XL'), ('flux', 'Flux'))
  }
  loras = [(str(path), 0.5) for path in (good, *files.values())]
  message = refused(directories['sd1'], loras)
  assert f'LoRA {files["Stable Diffusion XL"]} is of another model' in message
  assert 'it looks like one of Stable Diffusion XL' in message
  assert f'LoRA {files["Flux"]} of the same list looks like one of Flux' in (
    message
  )
  checks.check_prior(directories['sd1'], [TEXT], loras[:1])


def test_a_layer_of_another_size_is_refused(directories, tmp_path):
  path = tiny.save(
    tmp_path / 'lora.safetensors', pair(f'unet.{tiny.LINEAR}', 16, 32)
  )
  message = refused(directories['sd1'], [(str(path), 1.0)])
  assert 'a weight of 16 x 16, and its change is 16 x 32' in message


def weights(module):
  return {
    name: list(layer.weight.shape)
    for name, layer in module.named_modules()
    if isinstance(getattr(layer, 'weight', None), torch.Tensor)
  }


@pytest.mark.parametrize('family', FAMILIES)
def test_a_lora_of_every_layer_of_a_model_passes(directories, tmp_path, family):
  directory = directories[family]
  model = pipelines.open_pipeline(directory, 'float32', 'cpu')
  folder = 'unet' if (directory / 'unet').is_dir() else 'transformer'
  tensors = {}
  texts = [f'text_encoder{end}' for end in ('', '_2', '_3')]
  modules = [model.denoiser, *model.text.modules]
  for name, module in zip([folder, *texts], modules, strict=False):
    for layer, shape in weights(module).items():
      if len(shape) == 2 and 'embed' not in layer and 'shared' not in layer:
        tensors |= pair(f'{name}.{layer}', *shape)
  assert len(tensors) > 40
  path = tiny.save(tmp_path / 'lora.safetensors', tensors)
  checks.check_prior(directory, [TEXT], [(str(path), 1.0)])
  # As it is where they are merged.
  tiny.merged(model, (path, 1.0))


@pytest.mark.parametrize('family', tiny_checkpoints.FAMILIES)
def test_one_file_has_the_layers_of_its_directory(checkpoints, family):
  directory, file, base = checkpoints[family]
  laid = pathlib.Path(locate.locate(str(file), str(base)))
  for component in families.read_family(directory).components:
    if component == 'vae':
      continue
    plain = adapter_fit._network(directory, component)
    found = adapter_fit._network(laid, component)
    assert found.kind == plain.kind
    assert found.layers.keys() >= plain.layers.keys()
    for name, rows in plain.layers.items():
      for one, other in zip(
        rows.layers, found.layers[name].layers, strict=True
      ):
        shape = [n for n in found.shapes[other] if n > 1]
        assert shape == [n for n in plain.shapes[one] if n > 1], name


def test_one_file_is_named_by_its_family(checkpoints, tmp_path):
  _, file, base = checkpoints['sdxl']
  laid = locate.locate(str(file), str(base))
  lora = tiny.save(tmp_path / 'x.safetensors', LORAS['Stable Diffusion 1'])
  message = refused(laid, [(str(lora), 1.0)])
  assert f'and the prior {file} is Stable Diffusion XL' in message
  good = pair(tiny.kohya(tiny.LINEAR), 16, 16)
  path = tiny.save(tmp_path / 'good.safetensors', good)
  checks.check_prior(laid, [TEXT], [(str(path), 1.0)])


@pytest.mark.parametrize('family', ['sd1', 'sd2', 'sdxl'])
def test_layers_of_the_published_sizes_are_all_found(family):
  figures = json.loads((single_file._FIGURES / f'{family}.json').read_text())
  with torch.device('meta'):
    unet = checkpoint_weights._build(
      diffusers.UNet2DConditionModel, figures['unet']
    )
  theirs = {
    name.removeprefix('model.diffusion_model.'): list(weight.shape)
    for name, weight in tiny_checkpoints.unet_names(unet).items()
  }
  found = ldm_shapes.unet_shapes(theirs, figures['unet'])
  assert found == weights(unet)


def test_sizes_of_changes_are_those_of_their_formulas(directories):
  model = pipelines.open_pipeline(directories['sd1'], 'float32', 'cpu')
  before = tiny.weights_of(model)
  names = {'lora_down.weight': 'down', 'lora_up.weight': 'up'}
  names['lora_mid.weight'] = 'mid'
  for kind, (layer, parts, _) in tiny.kohya_cases(before).items():
    shapes = {
      names.get(name, name): list(torch.as_tensor(part).shape)
      for name, part in parts.items()
    }
    weight = before[f'{layer}.weight']
    expected = len(weight), weight.numel()
    assert adapter_fit.change_size(shapes) == expected, kind
  assert adapter_fit.change_size({'diff_b': [4]}) is None
  assert adapter_fit.change_size({'down': [2], 'up': []}) is None


def test_a_second_look_needs_no_torch(directories, tmp_path):
  directory = directories['sdxl']
  checks.check_prior(directory, [TEXT])
  path = tiny.save(tmp_path / 'x.safetensors', LORAS['Flux'])
  program = (
    'import sys\n'
    'from mmdist.priors import checks\n'
    'try:\n'
    f'  checks.check_prior({str(directory)!r}, [], {str(path)!r})\n'
    'except ValueError as error:\n'
    '  print(error)\n'
    'print([n for n in ("torch", "jax", "diffusers") if n in sys.modules])\n'
  )
  said = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  ).stdout.splitlines()
  assert 'one of Flux, and the prior' in said[0] and said[1] == '[]'
