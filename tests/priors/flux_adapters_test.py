"""LoRAs of Flux in the names that people have, against diffusers' readings."""

from diffusers.loaders import lora_conversion_utils as conversions
import pytest
import torch

from mmdist.priors import ldm_names
from tests.priors import tiny_adapters as tiny
from tests.priors import tiny_flux


@pytest.fixture(scope='module', name='model')
def fixture_model(tmp_path_factory):
  return tiny.open_models(tmp_path_factory.mktemp('models'), ['flux'])['flux']


def as_kohya(pairs):
  tensors = {}
  for name, (down, up) in pairs.items():
    flat = f'lora_unet_{name.replace(".", "_")}'
    tensors[f'{flat}.lora_down.weight'] = down
    tensors[f'{flat}.lora_up.weight'] = up
    tensors[f'{flat}.alpha'] = torch.tensor(tiny_flux.ALPHA)
  return tensors


def with_dots(pairs, prefix, down_name, up_name):
  tensors = {}
  for name, (down, up) in pairs.items():
    tensors[f'{prefix}{name}.{down_name}.weight'] = down
    tensors[f'{prefix}{name}.{up_name}.weight'] = up
    tensors[f'{prefix}{name}.alpha'] = torch.tensor(tiny_flux.ALPHA)
  return tensors


FORMATS = {
  'kohya': as_kohya,
  'comfyui': lambda p: with_dots(p, 'diffusion_model.', 'lora_down', 'lora_up'),
  'comfyui of peft': lambda p: with_dots(
    p, 'diffusion_model.', 'lora_A', 'lora_B'
  ),
  'bare': lambda p: with_dots(p, '', 'lora_A', 'lora_B'),
  'bare with up and down': lambda p: with_dots(p, '', 'lora_down', 'lora_up'),
  'as a checkpoint': lambda p: with_dots(
    p, 'model.diffusion_model.', 'lora_A', 'lora_B'
  ),
}


@pytest.mark.parametrize('kind', FORMATS)
def test_the_authors_names_are_cut_into_diffusers_layers(model, kind, tmp_path):
  before = tiny.weights_of(model)
  pairs = tiny_flux.random_pairs(before)
  path = tiny.save(tmp_path / 'flux.safetensors', FORMATS[kind](pairs))
  expected = {}
  for name, (down, up) in pairs.items():
    whole = (
      tiny_flux.weight_of(before, name)
      + tiny_flux.ALPHA / tiny_flux.RANK * up @ down
    )
    expected |= tiny_flux.expected_of(before, name, whole)
  tiny_flux.check(tiny.merged(model, (path, 1.0))[''], before, expected)


def merged_pairs(before, converted):
  """Merges what diffusers converts a file to, without any of our names."""
  expected = {}
  for name, down in converted.items():
    if name.endswith('.lora_A.weight'):
      layer = name.removeprefix('transformer.').removesuffix('.lora_A.weight')
      up = converted[name.replace('lora_A', 'lora_B')]
      expected[f'{layer}.weight'] = before[f'{layer}.weight'] + up @ down
  return expected


def test_a_file_of_kohya_is_what_diffusers_converts_it_to(model, tmp_path):
  before = tiny.weights_of(model)
  # Their conversion knows one width of linear1, that of the published model;
  # see the next test. And of final_layer it drops alpha.
  names = [name for name in tiny_flux.NAMES if name != tiny_flux.SINGLE]
  tensors = as_kohya(tiny_flux.random_pairs(before, names))
  for name in [n for n in tensors if 'final_layer' in n and 'alpha' in n]:
    tensors[name] = torch.tensor(float(tiny_flux.RANK))
  path = tiny.save(tmp_path / 'kohya.safetensors', tensors)
  converted = conversions._convert_kohya_flux_lora_to_diffusers(dict(tensors))
  expected = merged_pairs(before, converted)
  assert len(expected) == sum(len(tiny_flux.NAMES[name]) for name in names)
  tiny_flux.check(tiny.merged(model, (path, 1.0))[''], before, expected)


def test_rows_of_a_single_block_go_where_diffusers_puts_them(model):
  rows = torch.arange(7 * 3072.0)[:, None]
  converted = conversions._convert_kohya_flux_lora_to_diffusers(
    {
      'lora_unet_single_blocks_0_linear1.lora_down.weight': torch.ones(1, 1),
      'lora_unet_single_blocks_0_linear1.lora_up.weight': rows,
    }
  )
  found = ldm_names.flux_layers(
    name for name, _ in model.denoiser.named_modules()
  )[tiny_flux.SINGLE]
  theirs = [converted[f'transformer.{n}.lora_B.weight'] for n in found.layers]
  assert torch.equal(torch.cat(theirs), rows)
  widths = [len(model.denoiser.get_submodule(n).weight) for n in found.layers]
  assert [len(t) / 3072 for t in theirs] == [w / widths[0] for w in widths]


def test_a_file_of_xlabs_is_what_diffusers_converts_it_to(model, tmp_path):
  before = tiny.weights_of(model)
  width = len(before['single_transformer_blocks.0.attn.to_q.weight'])
  sizes = {
    'double_blocks.0.processor.qkv_lora1': (width, 3 * width),
    'double_blocks.0.processor.qkv_lora2': (width, 3 * width),
    'double_blocks.0.processor.proj_lora1': (width, width),
    'double_blocks.0.processor.proj_lora2': (width, width),
    'single_blocks.0.processor.qkv_lora': (width, 3 * width),
    'single_blocks.0.processor.proj_lora': (5 * width, width),
  }
  tensors = {}
  for seed, (name, (columns, rows)) in enumerate(sizes.items()):
    tensors[f'{name}.down.weight'] = tiny.draw(
      tiny_flux.RANK, columns, seed=2 * seed
    )
    tensors[f'{name}.up.weight'] = tiny.draw(
      rows, tiny_flux.RANK, seed=2 * seed + 1
    )
  path = tiny.save(tmp_path / 'xlabs.safetensors', tensors)
  converted = conversions._convert_xlabs_flux_lora_to_diffusers(dict(tensors))
  expected = merged_pairs(before, converted)
  assert len(expected) == 3 * 3 + 3
  tiny_flux.check(tiny.merged(model, (path, 1.0))[''], before, expected)


@pytest.mark.parametrize(
  'name', ['double_blocks.0.txt_attn.qkv', tiny_flux.SINGLE]
)
def test_other_kinds_are_cut_after_they_are_computed(model, name, tmp_path):
  before = tiny.weights_of(model)
  whole = tiny_flux.weight_of(before, name)
  rows, columns = whole.shape
  down, up = tiny.draw(2, columns), tiny.draw(rows, 2, seed=1)
  first, second = tiny.draw(4, 4), tiny.draw(rows // 4, columns // 4, seed=1)
  a, b, c, d = (
    tiny.draw(*size, seed=seed)
    for seed, size in enumerate([(rows, 2), (2, columns)] * 2)
  )
  length = torch.linspace(0.5, 2, rows)[:, None]
  across = torch.linspace(0.5, 2, columns)[None]
  full = tiny.draw(rows, columns, seed=5)
  pair = {'lora_down.weight': down, 'lora_up.weight': up}
  cases = {
    'lokr': (
      {'lokr_w1': first, 'lokr_w2': second},
      whole + torch.kron(first, second),
    ),
    'loha': (
      {'hada_w1_a': a, 'hada_w1_b': b, 'hada_w2_a': c, 'hada_w2_b': d},
      whole + (a @ b) * (c @ d),
    ),
    'full': ({'diff': full}, whole + full),
    'dora': (
      pair | {'dora_scale': length},
      tiny.dora(whole + up @ down, length, 0),
    ),
    # Its columns are as long as those of all its layers together.
    'dora of columns': (
      pair | {'dora_scale': across},
      tiny.dora(whole + up @ down, across, 1),
    ),
  }
  for kind, (parts, merged) in cases.items():
    path = tiny.save(
      tmp_path / f'{kind}.safetensors',
      {f'lora_unet_{name.replace(".", "_")}.{k}': v for k, v in parts.items()},
    )
    tiny_flux.check(
      tiny.merged(model, (path, 1.0))[''],
      before,
      tiny_flux.expected_of(before, name, merged),
    )


def test_the_last_norm_is_swapped_in_weight_bias_and_magnitudes(
  model, tmp_path
):
  before = tiny.weights_of(model)
  whole = tiny_flux.weight_of(before, tiny_flux.LAST_NORM)
  rows, columns = whole.shape
  down, up = tiny.draw(2, columns), tiny.draw(rows, 2, seed=1)
  length = torch.linspace(0.5, 2, rows)[:, None]
  bias = tiny.draw(rows, seed=2)
  path = tiny.save(
    tmp_path / 'norm.safetensors',
    {
      f'diffusion_model.{tiny_flux.LAST_NORM}.lora_down.weight': down,
      f'diffusion_model.{tiny_flux.LAST_NORM}.lora_up.weight': up,
      f'diffusion_model.{tiny_flux.LAST_NORM}.dora_scale': length,
      f'diffusion_model.{tiny_flux.LAST_NORM}.diff_b': bias,
    },
  )
  dora = tiny.dora(whole + up @ down, length, 0)
  expected = tiny_flux.expected_of(before, tiny_flux.LAST_NORM, dora)
  half = rows // 2
  expected['norm_out.linear.bias'] = before['norm_out.linear.bias'] + torch.cat(
    [bias[half:], bias[:half]]
  )
  tiny_flux.check(tiny.merged(model, (path, 1.0))[''], before, expected)


def test_norms_of_queries_and_keys_are_moved_too(model, tmp_path):
  before = tiny.weights_of(model)
  names = {
    'double_blocks.0.img_attn.norm.query_norm': (
      'transformer_blocks.0.attn.norm_q'
    ),
    'double_blocks.0.txt_attn.norm.key_norm': (
      'transformer_blocks.0.attn.norm_added_k'
    ),
    'single_blocks.0.norm.key_norm': 'single_transformer_blocks.0.attn.norm_k',
  }
  tensors, expected = {}, {}
  for seed, (theirs, ours) in enumerate(names.items()):
    delta = tiny.draw(16, seed=seed)
    tensors[f'lora_unet_{theirs.replace(".", "_")}.w_norm'] = delta
    expected[f'{ours}.weight'] = before[f'{ours}.weight'] + delta
  path = tiny.save(tmp_path / 'norms.safetensors', tensors)
  tiny_flux.check(tiny.merged(model, (path, 1.0))[''], before, expected)
