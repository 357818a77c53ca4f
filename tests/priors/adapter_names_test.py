"""Names, types and shapes that adapters have on their way to people."""

import peft
import pytest
import torch

from mmdist.core import model_files
from mmdist.priors import lora_files
from tests.priors import tiny_adapters as tiny

DOWN, UP = tiny.draw(2, 16), tiny.draw(16, 2)
LAYER = f'{tiny.LINEAR}.weight'


@pytest.fixture(scope='module', name='models')
def fixture_models(tmp_path_factory):
  return tiny.open_models(tmp_path_factory.mktemp('models'), ['sd1'])


def check(model, path, factor):
  """Checks that one layer moved, by a factor of up times down."""
  before = tiny.weights_of(model)
  found = tiny.merged(model, (path, 1.0))['']
  for name, weight in before.items():
    expected = weight + factor * UP @ DOWN if name == LAYER else weight
    torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  'name',
  [
    'unet.{}.lora_A.default.weight',
    'unet.{}.lora_A.default_0.weight',
    'unet.{}.lora_A.my-face.weight',
    'unet._orig_mod.{}.lora_A.weight',
    '_orig_mod.unet.{}.lora_A.weight',
    'module.unet.{}.lora_A.weight',
    'module.{}.lora_A.weight',
    'diffusion_model.{}.lora_A.weight',
    '{}.lora_A.weight',
  ],
)
def test_what_wraps_a_network_is_no_part_of_a_name(models, name, tmp_path):
  name = name.format(tiny.LINEAR)
  path = tiny.save(
    tmp_path / 'h\u00e4t #1, (2).safetensors',
    {name: DOWN, name.replace('lora_A', 'lora_B'): UP},
  )
  check(models['sd1'], path, 1.0)


@pytest.mark.parametrize('prefix', ['', 'unet.'])
def test_pefts_prefix_needs_to_be_told_how_strong_it_is(
  models, prefix, tmp_path
):
  name = f'{prefix}base_model.model.{tiny.LINEAR}'
  tensors = {f'{name}.lora_A.weight': DOWN, f'{name}.lora_B.weight': UP}
  path = tiny.save(tmp_path / 'mine.safetensors', tensors)
  with pytest.raises(FileNotFoundError, match='how strong it is'):
    lora_files.read_lora(path)
  tiny.save(path, tensors | {f'{name}.alpha': 6.0})
  check(models['sd1'], path, 3.0)
  # Or by its config, which the file itself counts before.
  tiny.save(path, tensors)
  peft.LoraConfig(r=2, lora_alpha=5).save_pretrained(tmp_path)
  check(models['sd1'], path, 2.5)


@pytest.mark.parametrize('shape', [(), (1,), (1, 1)])
@pytest.mark.parametrize(
  'dtype',
  [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int8],
)
def test_an_alpha_is_a_number_of_any_type(models, shape, dtype, tmp_path):
  name = tiny.kohya(tiny.LINEAR)
  path = tiny.save(
    tmp_path / 'alpha.safetensors',
    {
      f'{name}.lora_down.weight': DOWN,
      f'{name}.lora_up.weight': UP,
      f'{name}.alpha': torch.full(shape, 4, dtype=dtype),
    },
  )
  check(models['sd1'], path, 2.0)


def test_float64_is_not_quantised(models, tmp_path):
  tensors = {
    f'unet.{tiny.LINEAR}.lora_A.weight': DOWN.double(),
    f'unet.{tiny.LINEAR}.lora_B.weight': UP.double(),
  }
  path = tiny.save(tmp_path / 'exact.SAFETENSORS', tensors)
  model_files.check_safetensors(path)
  check(models['sd1'], path, 1.0)


def test_a_linear_layer_may_be_a_convolution_of_one_pixel(models, tmp_path):
  model = models['sd1']
  layer = 'down_blocks.1.attentions.0.proj_in'
  before = tiny.weights_of(model)[f'{layer}.weight']
  for down, up in ((DOWN, UP), (DOWN[..., None, None], UP[..., None, None])):
    path = tiny.save(
      tmp_path / 'pixel.safetensors',
      {
        f'{tiny.kohya(layer)}.lora_down.weight': down,
        f'{tiny.kohya(layer)}.lora_up.weight': up,
      },
    )
    found = tiny.merged(model, (path, 1.0))[''][f'{layer}.weight']
    expected = before + (UP @ DOWN).reshape(before.shape)
    torch.testing.assert_close(found, expected)
