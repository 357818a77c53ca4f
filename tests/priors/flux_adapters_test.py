"""LoRAs of Flux in the names that people have, against diffusers' readings."""

import copy

import diffusers
from diffusers.loaders import lora_conversion_utils as conversions
import peft
import pytest
import torch

from mmdist.priors import ldm_names
from tests.priors import tiny_adapters as tiny

# Two float32 orders of the same sums.
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-5}
QKV = ('attn.to_q', 'attn.to_k', 'attn.to_v')
ADDED = ('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj')
# Written out by hand: the authors' name, and the layers that it is cut into.
NAMES = {
  'img_in': ('x_embedder',),
  'txt_in': ('context_embedder',),
  'time_in.in_layer': ('time_text_embed.timestep_embedder.linear_1',),
  'time_in.out_layer': ('time_text_embed.timestep_embedder.linear_2',),
  'vector_in.in_layer': ('time_text_embed.text_embedder.linear_1',),
  'vector_in.out_layer': ('time_text_embed.text_embedder.linear_2',),
  'guidance_in.in_layer': ('time_text_embed.guidance_embedder.linear_1',),
  'guidance_in.out_layer': ('time_text_embed.guidance_embedder.linear_2',),
  'final_layer.linear': ('proj_out',),
  'final_layer.adaLN_modulation.1': ('norm_out.linear',),
  **{
    f'double_blocks.0.{name}': tuple(
      f'transformer_blocks.0.{layer}' for layer in layers
    )
    for name, layers in {
      'img_attn.qkv': QKV,
      'txt_attn.qkv': ADDED,
      'img_attn.proj': ('attn.to_out.0',),
      'txt_attn.proj': ('attn.to_add_out',),
      'img_mlp.0': ('ff.net.0.proj',),
      'img_mlp.2': ('ff.net.2',),
      'txt_mlp.0': ('ff_context.net.0.proj',),
      'txt_mlp.2': ('ff_context.net.2',),
      'img_mod.lin': ('norm1.linear',),
      'txt_mod.lin': ('norm1_context.linear',),
    }.items()
  },
  **{
    f'single_blocks.0.{name}': tuple(
      f'single_transformer_blocks.0.{layer}' for layer in layers
    )
    for name, layers in {
      'linear1': (*QKV, 'proj_mlp'),
      'linear2': ('proj_out',),
      'modulation.lin': ('norm.linear',),
    }.items()
  },
}
LAST_NORM = 'final_layer.adaLN_modulation.1'
SINGLE = 'single_blocks.0.linear1'
ALPHA = 3.0
RANK = 2


@pytest.fixture(scope='module', name='model')
def fixture_model(tmp_path_factory):
  return tiny.open_models(tmp_path_factory.mktemp('models'), ['flux'])['flux']


def weight_of(before, name):
  """The weight that the authors' network would have."""
  whole = torch.cat([before[f'{layer}.weight'] for layer in NAMES[name]])
  return whole.roll(len(whole) // 2, 0) if name == LAST_NORM else whole


def expected_of(before, name, whole):
  """Returns diffusers' weights of one of the authors' network."""
  if name == LAST_NORM:
    whole = whole.roll(len(whole) // 2, 0)
  sizes = [len(before[f'{layer}.weight']) for layer in NAMES[name]]
  parts = whole.split(sizes)
  return {
    f'{layer}.weight': part
    for layer, part in zip(NAMES[name], parts, strict=True)
  }


def random_pairs(before, names=tuple(NAMES)):
  """Returns name -> down [R, in] and up [out, R], each of other numbers."""
  pairs = {}
  for seed, name in enumerate(names):
    rows, columns = weight_of(before, name).shape
    pairs[name] = (
      tiny.draw(RANK, columns, seed=2 * seed),
      tiny.draw(rows, RANK, seed=2 * seed + 1),
    )
  return pairs


def check(found, before, expected):
  for name, weight in before.items():
    torch.testing.assert_close(
      found[name], expected.get(name, weight), **TOLERANCE, msg=name
    )
    if name in expected:
      assert (found[name] - weight).abs().max() > 1e-3, name


def as_kohya(pairs):
  tensors = {}
  for name, (down, up) in pairs.items():
    flat = f'lora_unet_{name.replace(".", "_")}'
    tensors[f'{flat}.lora_down.weight'] = down
    tensors[f'{flat}.lora_up.weight'] = up
    tensors[f'{flat}.alpha'] = torch.tensor(ALPHA)
  return tensors


def with_dots(pairs, prefix, down_name, up_name):
  tensors = {}
  for name, (down, up) in pairs.items():
    tensors[f'{prefix}{name}.{down_name}.weight'] = down
    tensors[f'{prefix}{name}.{up_name}.weight'] = up
    tensors[f'{prefix}{name}.alpha'] = torch.tensor(ALPHA)
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
  pairs = random_pairs(before)
  path = tiny.save(tmp_path / 'flux.safetensors', FORMATS[kind](pairs))
  expected = {}
  for name, (down, up) in pairs.items():
    whole = weight_of(before, name) + ALPHA / RANK * up @ down
    expected |= expected_of(before, name, whole)
  check(tiny.merged(model, (path, 1.0))[''], before, expected)


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
  names = [name for name in NAMES if name != SINGLE]
  tensors = as_kohya(random_pairs(before, names))
  for name in [n for n in tensors if 'final_layer' in n and 'alpha' in n]:
    tensors[name] = torch.tensor(float(RANK))
  path = tiny.save(tmp_path / 'kohya.safetensors', tensors)
  converted = conversions._convert_kohya_flux_lora_to_diffusers(dict(tensors))
  expected = merged_pairs(before, converted)
  assert len(expected) == sum(len(NAMES[name]) for name in names)
  check(tiny.merged(model, (path, 1.0))[''], before, expected)


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
  )[SINGLE]
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
    tensors[f'{name}.down.weight'] = tiny.draw(RANK, columns, seed=2 * seed)
    tensors[f'{name}.up.weight'] = tiny.draw(rows, RANK, seed=2 * seed + 1)
  path = tiny.save(tmp_path / 'xlabs.safetensors', tensors)
  converted = conversions._convert_xlabs_flux_lora_to_diffusers(dict(tensors))
  expected = merged_pairs(before, converted)
  assert len(expected) == 3 * 3 + 3
  check(tiny.merged(model, (path, 1.0))[''], before, expected)


def test_what_diffusers_saves_of_flux_is_merged_as_it_runs(model, tmp_path):
  network = copy.deepcopy(model.denoiser)
  config = peft.LoraConfig(
    r=2, lora_alpha=4, target_modules=['to_q', 'add_k_proj', 'proj_mlp']
  )
  network.add_adapter(config)
  torch.manual_seed(0)
  for name, weight in network.named_parameters():
    if 'lora_B' in name:
      weight.data.normal_(0, 0.3)
  diffusers.FluxPipeline.save_lora_weights(
    tmp_path,
    transformer_lora_layers=peft.get_peft_model_state_dict(network),
    transformer_lora_adapter_metadata=config.to_dict(),
  )
  expected = {}
  for name, layer in network.named_modules():
    if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer):
      layer.merge(adapter_names=['default'])
      expected[f'{name}.weight'] = layer.get_base_layer().weight
  assert len(expected) == 4
  before = tiny.weights_of(model)
  check(tiny.merged(model, (tmp_path, 1.0))[''], before, expected)


@pytest.mark.parametrize('name', ['double_blocks.0.txt_attn.qkv', SINGLE])
def test_other_kinds_are_cut_after_they_are_computed(model, name, tmp_path):
  before = tiny.weights_of(model)
  whole = weight_of(before, name)
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
    check(
      tiny.merged(model, (path, 1.0))[''],
      before,
      expected_of(before, name, merged),
    )


def test_the_last_norm_is_swapped_in_weight_bias_and_magnitudes(
  model, tmp_path
):
  before = tiny.weights_of(model)
  whole = weight_of(before, LAST_NORM)
  rows, columns = whole.shape
  down, up = tiny.draw(2, columns), tiny.draw(rows, 2, seed=1)
  length = torch.linspace(0.5, 2, rows)[:, None]
  bias = tiny.draw(rows, seed=2)
  path = tiny.save(
    tmp_path / 'norm.safetensors',
    {
      f'diffusion_model.{LAST_NORM}.lora_down.weight': down,
      f'diffusion_model.{LAST_NORM}.lora_up.weight': up,
      f'diffusion_model.{LAST_NORM}.dora_scale': length,
      f'diffusion_model.{LAST_NORM}.diff_b': bias,
    },
  )
  dora = tiny.dora(whole + up @ down, length, 0)
  expected = expected_of(before, LAST_NORM, dora)
  half = rows // 2
  expected['norm_out.linear.bias'] = before['norm_out.linear.bias'] + torch.cat(
    [bias[half:], bias[:half]]
  )
  check(tiny.merged(model, (path, 1.0))[''], before, expected)


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
  check(tiny.merged(model, (path, 1.0))[''], before, expected)


@pytest.mark.parametrize(
  't5', ['lora_te3_', 'lora_te2_', 'text_encoders.t5xxl.transformer.']
)
def test_text_encoders_beside_flux_are_moved(model, t5, tmp_path):
  # Kohya calls T5 the third, as of Stable Diffusion 3; others the second.
  layer = 'encoder.block.0.layer.0.SelfAttention.q'
  clip = 'lora_te1_text_model_encoder_layers_0_self_attn_q_proj'
  plain = tiny.merged(model)
  t5_weight = plain['text_encoder_2'][f'{layer}.weight']
  down, up = tiny.draw(1, t5_weight.shape[1]), tiny.draw(len(t5_weight), 1)
  name = t5 + (layer.replace('.', '_') if t5.startswith('lora') else layer)
  path = tiny.save(
    tmp_path / 'te.safetensors',
    {
      f'{name}.lora_down.weight': down,
      f'{name}.lora_up.weight': up,
      f'{clip}.lora_down.weight': tiny.draw(1, 16),
      f'{clip}.lora_up.weight': tiny.draw(16, 1),
    },
  )
  found = tiny.merged(model, (path, 1.0))
  torch.testing.assert_close(
    found['text_encoder_2'][f'{layer}.weight'], t5_weight + up @ down
  )
  moved = {
    name
    for name, weight in found['text_encoder_1'].items()
    if not torch.equal(weight, plain['text_encoder_1'][name])
  }
  (name,) = moved
  assert name.endswith('layers.0.self_attn.q_proj.weight')


def test_a_folder_of_peft_has_the_authors_names_in_its_patterns_too(
  model, tmp_path
):
  before = tiny.weights_of(model)
  names = ['double_blocks.0.img_attn.proj', SINGLE]
  pairs = random_pairs(before, names)
  tiny.save(
    tmp_path / 'adapter_model.safetensors',
    {
      f'base_model.model.{name}.{part}.weight': t
      for name, pair in pairs.items()
      for part, t in zip(('lora_A', 'lora_B'), pair, strict=True)
    },
  )
  config = peft.LoraConfig(
    r=RANK,
    lora_alpha=4,
    # ff.net.0.proj of diffusers ends so too, and is another layer.
    target_modules=['proj', 'linear1'],
    alpha_pattern={'single_blocks.0.linear1': 5},
  )
  config.save_pretrained(tmp_path)
  expected = {}
  for name, alpha in zip(names, (4, 5), strict=True):
    down, up = pairs[name]
    whole = weight_of(before, name) + alpha / RANK * up @ down
    expected |= expected_of(before, name, whole)
  check(tiny.merged(model, (tmp_path, 1.0))[''], before, expected)


QKV_PAIR = {
  'double_blocks.0.img_attn.qkv.lora_A.weight': tiny.draw(2, 32),
  'double_blocks.0.img_attn.qkv.lora_B.weight': tiny.draw(96, 2),
}


@pytest.mark.parametrize(
  'tensors, words',
  [
    (
      {k: v for k, v in QKV_PAIR.items() if 'lora_A' in k},
      'half.*double_blocks.0.img_attn.qkv has .* no lora_up',
    ),
    (
      {k.replace('.0.', '.1.'): v for k, v in QKV_PAIR.items()},
      'there is no layer double_blocks.1.img_attn.qkv',
    ),
    (
      {k.replace('qkv', 'kqv'): v for k, v in QKV_PAIR.items()},
      'there is no layer double_blocks.0.img_attn.kqv',
    ),
    (
      {k: v[:64] for k, v in QKV_PAIR.items()},
      r'does not fit the model: the layer has a weight of \[96, 32\]',
    ),
    (
      QKV_PAIR
      | {
        'transformer.transformer_blocks.0.attn.to_k.lora_A.weight': tiny.draw(
          2, 32
        ),
        'transformer.transformer_blocks.0.attn.to_k.lora_B.weight': tiny.draw(
          32, 2
        ),
      },
      'one layer twice',
    ),
    (
      QKV_PAIR
      | {'double_blocks.0.img_attn.norm.query_norm.scale': tiny.draw(16)},
      'whole norms',
    ),
    (
      {'double_blocks.0.processor.ip_adapter_k.weight': tiny.draw(2, 2)},
      'IP-Adapter',
    ),
  ],
)
def test_what_cannot_be_merged_is_named_with_its_file(
  model, tensors, words, tmp_path
):
  path = tiny.save(tmp_path / 'flux.safetensors', tensors)
  with pytest.raises(ValueError, match=words) as caught:
    tiny.merged(model, (path, 1.0))
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)
