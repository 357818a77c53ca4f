"""Adapters of every kind that people have, against PEFT and the definitions."""

import copy

import diffusers
import peft
import pytest
import torch

from mmdist.core import messages
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny_adapters as tiny

# Two float32 orders of the same sums.
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-5}


@pytest.fixture(scope='module', name='models')
def fixture_models(tmp_path_factory):
  return tiny.open_models(tmp_path_factory.mktemp('models'))


@pytest.mark.parametrize('kind', tiny.PEFT_KINDS)
def test_an_adapter_of_peft_is_merged_as_peft_does(models, kind, tmp_path):
  model = models['sd1']
  expected = tiny.trained_by_peft(model.denoiser, kind, tmp_path / 'adapter')
  before = tiny.weights_of(model)
  # Both the folder and the file in it may be named.
  found = tiny.merged(model, (tmp_path / 'adapter', 1.0))['']
  file = tmp_path / 'adapter' / 'adapter_model.safetensors'
  again = tiny.merged(model, (file, 1.0))['']
  moved = 0
  for name, weight in expected.items():
    torch.testing.assert_close(found[name], weight, **TOLERANCE)
    assert torch.equal(found[name], again[name])
    moved += not torch.equal(found[name], before[name])
  assert moved >= 2


def test_an_adapter_of_a_text_encoder_finds_the_one_that_it_fits(
  models, tmp_path
):
  model = models['sdxl']
  target = model.text.modules[1]  # The one with a projection.
  torch.manual_seed(0)
  # Both encoders have queries, and one has a projection.
  targets = ['q_proj', 'text_projection']
  settings = {'r': 2, 'lora_alpha': 4, 'target_modules': targets}
  wrapped = peft.get_peft_model(
    copy.deepcopy(target),
    peft.LoraConfig(**settings, init_lora_weights=False),
  )
  wrapped.save_pretrained(tmp_path)
  expected = dict(wrapped.merge_and_unload().named_parameters())
  found = tiny.merged(model, (tmp_path, 1.0))
  for name, weight in expected.items():
    torch.testing.assert_close(
      found['text_encoder_2'][name], weight, **TOLERANCE
    )


def test_what_fits_both_text_encoders_is_not_guessed(models, tmp_path):
  trained = copy.deepcopy(models['sdxl'].text.modules[1])
  settings = {'r': 2, 'target_modules': ['q_proj'], 'init_lora_weights': False}
  peft.get_peft_model(trained, peft.LoraConfig(**settings)).save_pretrained(
    tmp_path
  )
  with pytest.raises(ValueError, match='text_encoder and text_encoder_2'):
    tiny.merged(models['sdxl'], (tmp_path, 1.0))


@pytest.mark.parametrize('scale', [1.0, 0.4])
def test_what_kohya_and_lycoris_save_is_its_definition(models, scale, tmp_path):
  before = tiny.weights_of(models['sd1'])
  for kind, (layer, parts, expected) in tiny.kohya_cases(before).items():
    names = {f'{tiny.kohya(layer)}.{part}': t for part, t in parts.items()}
    path = tiny.save(tmp_path / f'{kind}.safetensors', names)
    found = tiny.merged(models['sd1'], (path, scale))['']
    weight = before[f'{layer}.weight']
    if expected is None:
      expected = weight + parts['diff']
    torch.testing.assert_close(
      found[f'{layer}.weight'],
      weight + scale * (expected - weight),
      **TOLERANCE,
      msg=kind,
    )
    assert (found[f'{layer}.weight'] - weight).abs().max() > 1e-3, kind
    assert all(
      torch.equal(found[name], before[name])
      for name in before
      if name != f'{layer}.weight'
    )


def test_norms_and_biases_are_moved_too(models, tmp_path):
  before = tiny.weights_of(models['sd1'])
  norm = 'down_blocks.0.resnets.0.norm1'
  sizes = (
    len(before[f'{norm}.weight']),
    len(before[f'{tiny.CONV}.bias']),
  )
  weight, bias, of_conv = (
    tiny.draw(sizes[0]),
    tiny.draw(sizes[0], seed=1),
    tiny.draw(sizes[1]),
  )
  path = tiny.save(
    tmp_path / 'norms.safetensors',
    {
      f'{tiny.kohya(norm)}.w_norm': weight,
      f'{tiny.kohya(norm)}.b_norm': bias,
      f'{tiny.kohya(tiny.CONV)}.diff_b': of_conv,
    },
  )
  found = tiny.merged(models['sd1'], (path, 0.5))['']
  for name, delta in (
    (f'{norm}.weight', weight),
    (f'{norm}.bias', bias),
    (f'{tiny.CONV}.bias', of_conv),
  ):
    torch.testing.assert_close(found[name], before[name] + 0.5 * delta)
  lonely = tiny.save(
    tmp_path / 'no bias.safetensors',
    {f'{tiny.kohya(tiny.LINEAR)}.diff_b': tiny.draw(16)},
  )
  with pytest.raises(ValueError, match='no bias.safetensors.*bias that there'):
    tiny.merged(models['sd1'], (lonely, 1.0))


# What the authors of SDXL and Stable Diffusion 3 call some layers; the first
# column is written out by hand.
SDXL_NAMES = {
  'input_blocks.0.0': 'conv_in',
  'input_blocks.1.0.in_layers.2': 'down_blocks.0.resnets.0.conv1',
  'input_blocks.2.0.op': 'down_blocks.0.downsamplers.0.conv',
  'input_blocks.3.1.transformer_blocks.0.attn2.to_out.0': (
    'down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0'
  ),
  'middle_block.0.out_layers.3': 'mid_block.resnets.0.conv2',
  'middle_block.1.proj_in': 'mid_block.attentions.0.proj_in',
  'middle_block.2.emb_layers.1': 'mid_block.resnets.1.time_emb_proj',
  'output_blocks.0.0.skip_connection': 'up_blocks.0.resnets.0.conv_shortcut',
  'output_blocks.1.1.transformer_blocks.0.ff.net.0.proj': (
    'up_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj'
  ),
  'output_blocks.1.2.conv': 'up_blocks.0.upsamplers.0.conv',
  'time_embed.2': 'time_embedding.linear_2',
  'label_emb.0.0': 'add_embedding.linear_1',
  'out.2': 'conv_out',
}


def random_parts(module, seed=0):
  weight = module.weight
  return {
    'lora_down.weight': tiny.draw(2, *weight.shape[1:], seed=seed),
    'lora_up.weight': tiny.draw(
      len(weight), 2, *(1,) * (weight.ndim - 2), seed=seed + 1
    ),
    'alpha': 1.0,
  }


def test_sdxl_is_read_by_the_names_of_its_authors(models, tmp_path):
  model = models['sdxl']
  theirs, ours, thirds = {}, {}, {}
  for name, layer in SDXL_NAMES.items():
    for part, t in random_parts(model.denoiser.get_submodule(layer)).items():
      theirs[f'lora_unet_{name.replace(".", "_")}.{part}'] = t
      thirds[f'diffusion_model.{name}.{part}'] = t  # As ComfyUI saves them.
      ours[f'{tiny.kohya(layer)}.{part}'] = t
  for number in (1, 2):
    layer = 'text_model_encoder_layers_0_self_attn_q_proj'
    for part, t in random_parts(torch.nn.Linear(16, 16), number).items():
      theirs[f'lora_te{number}_{layer}.{part}'] = t
      third = f'text_encoders.clip_{"lg"[number - 1]}.transformer.text_model.'
      thirds[f'{third}encoder.layers.0.self_attn.q_proj.{part}'] = t
      ours[
        f'text_encoder{"_2" * (number == 2)}.text_model.encoder.layers.0.'
        f'self_attn.q_proj.{part}'
      ] = t
  found, others, expected = (
    tiny.merged(model, (tiny.save(tmp_path / f'{n}.safetensors', tensors), 1.0))
    for n, tensors in enumerate((theirs, thirds, ours))
  )
  before = tiny.merged(model)
  moved = 0
  for network, weights in expected.items():
    for name, weight in weights.items():
      assert torch.equal(found[network][name], weight)
      assert torch.equal(others[network][name], weight)
      moved += not torch.equal(before[network][name], weight)
  assert moved == len(SDXL_NAMES) + 2


def test_queries_keys_and_values_of_sd3_are_one_matrix(models, tmp_path):
  model = models['sd3']
  before = tiny.weights_of(model)
  inner = [
    f'transformer_blocks.0.attn.{name}.weight'
    for name in ('to_q', 'to_k', 'to_v')
  ]
  whole = torch.cat([before[name] for name in inner])
  down, up = (
    tiny.draw(2, whole.shape[1]),
    tiny.draw(len(whole), 2),
  )
  length = torch.linspace(0.5, 2, len(whole))[:, None]
  name = 'lora_unet_joint_blocks_0_x_block_attn_qkv'
  third = 'lora_te3_encoder_block_0_layer_0_SelfAttention_q'
  path = tiny.save(
    tmp_path / 'sd3.safetensors',
    {
      f'{name}.lora_down.weight': down,
      f'{name}.lora_up.weight': up,
      f'{name}.alpha': 2.0,
      f'{name}.dora_scale': length,
      # Beside it, a layer of T5.
      f'{third}.lora_down.weight': tiny.draw(1, 32),
      f'{third}.lora_up.weight': tiny.draw(16, 1),
    },
  )
  found = tiny.merged(model, (path, 1.0))
  expected = tiny.dora(whole + up @ down, length, 0).chunk(3)
  for key, weight in zip(inner, expected, strict=True):
    torch.testing.assert_close(found[''][key], weight, **TOLERANCE)
  t5 = 'encoder.block.0.layer.0.SelfAttention.q.weight'
  assert not torch.equal(
    found['text_encoder_3'][t5],
    dict(model.text.modules[2].named_parameters())[t5],
  )


def test_the_last_norms_of_sd3_have_shift_and_scale_the_other_way_round(
  models, tmp_path
):
  model = models['sd3']
  before = tiny.weights_of(model)
  blocks = {
    int(k.split('.')[1]) for k in before if k.startswith('transformer_')
  }
  layers = {
    'final_layer.adaLN_modulation.1': 'norm_out.linear',
    f'joint_blocks.{max(blocks)}.context_block.adaLN_modulation.1': (
      f'transformer_blocks.{max(blocks)}.norm1_context.linear'
    ),
    # In the middle of the network, no last one.
    'joint_blocks.0.x_block.adaLN_modulation.1': (
      'transformer_blocks.0.norm1.linear'
    ),
  }
  tensors, expected = {}, {}
  for seed, (theirs, ours) in enumerate(layers.items()):
    rows, columns = before[f'{ours}.weight'].shape
    down = tiny.draw(2, columns, seed=2 * seed)
    up = tiny.draw(rows, 2, seed=2 * seed + 1)
    name = f'lora_unet_{theirs.replace(".", "_")}'
    tensors |= {f'{name}.lora_down.weight': down, f'{name}.lora_up.weight': up}
    if seed < 2:
      up = torch.cat([up[rows // 2 :], up[: rows // 2]])
    expected[f'{ours}.weight'] = before[f'{ours}.weight'] + up @ down
  path = tiny.save(tmp_path / 'norms.safetensors', tensors)
  found = tiny.merged(model, (path, 1.0))['']
  for name, weight in before.items():
    torch.testing.assert_close(
      found[name], expected.get(name, weight), **TOLERANCE
    )


def test_several_loras_add_up_whatever_their_order(models, tmp_path):
  model = models['sd1']
  before = tiny.weights_of(model)
  cases = tiny.kohya_cases(before)
  paths = {}
  for kind in ('lora', 'dora', 'loha', 'locon'):
    layer, parts, _ = cases[kind]
    names = {f'{tiny.kohya(layer)}.{part}': t for part, t in parts.items()}
    paths[kind] = tiny.save(tmp_path / f'{kind}.safetensors', names)
  weights = {'lora': 0.8, 'dora': -0.5, 'loha': 1.5, 'locon': 2.0}
  loras = [(paths[kind], weight) for kind, weight in weights.items()]
  found, turned = (
    tiny.merged(model, *loras)[''],
    tiny.merged(model, *loras[::-1])[''],
  )
  for name, weight in before.items():
    total = weight + sum(
      weights[kind] * (cases[kind][2] - weight)
      for kind in weights
      if f'{cases[kind][0]}.weight' == name
    )
    torch.testing.assert_close(found[name], total, **TOLERANCE)
    torch.testing.assert_close(turned[name], total, **TOLERANCE)


def test_a_text_encoder_in_bfloat16_is_changed_before_it_is_rounded(
  models, tmp_path
):
  folder = models['sd1'].text.readers[0].text_encoder.name_or_path
  directory = folder.removesuffix('/text_encoder')
  layer = 'lora_te_text_model_encoder_layers_0_self_attn_q_proj'
  parts = random_parts(torch.nn.Linear(16, 16))
  path = tiny.save(
    tmp_path / 'te.safetensors', {f'{layer}.{k}': v for k, v in parts.items()}
  )
  opened = pipelines.open_pipeline(
    directory,
    device='cpu',
    memory=messages.MemoryOptions(text_dtype='bfloat16'),
    loras=[(str(path), 0.01)],
  )
  exact = tiny.merged(models['sd1'], (path, 0.01))['text_encoder_1']
  for name, weight in opened.text.modules[0].named_parameters():
    assert torch.equal(weight, exact[name].to(torch.bfloat16))


@pytest.mark.parametrize('named', ['to_{}_lora', 'processor.to_{}_lora'])
def test_the_first_format_of_diffusers_is_read(models, named, tmp_path):
  model = models['sd1']
  block = tiny.LINEAR.removesuffix('.to_q')
  theirs, ours = {}, {}
  for part, layer in (('q', 'to_q'), ('out', 'to_out.0')):
    down, up = tiny.draw(2, 16), tiny.draw(16, 2)
    old = f'unet.{block}.{named.format(part)}'
    theirs |= {f'{old}.down.weight': down, f'{old}.up.weight': up}
    theirs[f'{old}.alpha'] = 1.0
    new = f'unet.{block}.{layer}'
    ours |= {f'{new}.lora_A.weight': down, f'{new}.lora_B.weight': up}
    ours[f'{new}.alpha'] = 1.0
  old = 'text_encoder.text_model.encoder.layers.0.self_attn.to_v_lora'
  new = 'text_encoder.encoder.layers.0.self_attn.v_proj.lora_linear_layer'
  for name, tensors in ((old, theirs), (new, ours)):
    tensors[f'{name}.down.weight'] = tiny.draw(2, 16)
    tensors[f'{name}.up.weight'] = tiny.draw(16, 2)
  found, expected = (
    tiny.merged(model, (tiny.save(tmp_path / f'{n}.safetensors', t), 1.0))
    for n, t in (('theirs', theirs), ('ours', ours))
  )
  before = tiny.merged(model)
  moved = 0
  for network, weights in expected.items():
    for name, weight in weights.items():
      assert torch.equal(found[network][name], weight)
      moved += not torch.equal(before[network][name], weight)
  assert moved == 3


def test_a_dora_that_diffusers_saved_is_the_one_it_runs(models, tmp_path):
  network = copy.deepcopy(models['sd1'].denoiser)
  config = peft.LoraConfig(
    r=2, lora_alpha=4, target_modules=['to_q', 'conv1'], use_dora=True
  )
  network.add_adapter(config)
  torch.manual_seed(0)
  for name, weight in network.named_parameters():
    if 'lora_B' in name:
      weight.data.normal_(0, 0.3)
    elif 'magnitude' in name:
      weight.data.mul_(1.5)
  diffusers.StableDiffusionPipeline.save_lora_weights(
    tmp_path,
    unet_lora_layers=peft.get_peft_model_state_dict(network),
    unet_lora_adapter_metadata=config.to_dict(),
  )
  found = tiny.merged(models['sd1'], (tmp_path, 1.0))['']
  for name, layer in network.named_modules():
    if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer):
      layer.merge(adapter_names=['default'])
      torch.testing.assert_close(
        found[f'{name}.weight'], layer.get_base_layer().weight, **TOLERANCE
      )
