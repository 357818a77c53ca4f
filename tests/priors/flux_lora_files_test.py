"""Files of Flux's LoRAs: folders, text encoders, and what is refused."""

import copy

import diffusers
import peft
import pytest
import torch

from tests.priors import tiny_adapters as tiny
from tests.priors import tiny_flux


@pytest.fixture(scope='module', name='model')
def fixture_model(tmp_path_factory):
  return tiny.open_models(tmp_path_factory.mktemp('models'), ['flux'])['flux']


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
  tiny_flux.check(tiny.merged(model, (tmp_path, 1.0))[''], before, expected)


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
  names = ['double_blocks.0.img_attn.proj', tiny_flux.SINGLE]
  pairs = tiny_flux.random_pairs(before, names)
  tiny.save(
    tmp_path / 'adapter_model.safetensors',
    {
      f'base_model.model.{name}.{part}.weight': t
      for name, pair in pairs.items()
      for part, t in zip(('lora_A', 'lora_B'), pair, strict=True)
    },
  )
  config = peft.LoraConfig(
    r=tiny_flux.RANK,
    lora_alpha=4,
    # ff.net.0.proj of diffusers ends so too, and is another layer.
    target_modules=['proj', 'linear1'],
    alpha_pattern={'single_blocks.0.linear1': 5},
  )
  config.save_pretrained(tmp_path)
  expected = {}
  for name, alpha in zip(names, (4, 5), strict=True):
    down, up = pairs[name]
    whole = (
      tiny_flux.weight_of(before, name) + alpha / tiny_flux.RANK * up @ down
    )
    expected |= tiny_flux.expected_of(before, name, whole)
  tiny_flux.check(tiny.merged(model, (tmp_path, 1.0))[''], before, expected)


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
