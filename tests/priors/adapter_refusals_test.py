"""Adapters that cannot be merged: one line, with the file and the thing."""

import json

import pytest
import torch

from mmdist.priors import lora_files
from tests.priors import tiny_adapters as tiny


@pytest.fixture(scope='module', name='models')
def fixture_models(tmp_path_factory):
  return tiny.open_models(tmp_path_factory.mktemp('models'), ['sd1'])


@pytest.mark.parametrize(
  'tensors, words',
  [
    (
      {f'unet.{tiny.LINEAR}.lora_A.weight': tiny.draw(2, 16)},
      'half.*no lora_up',
    ),
    (
      {f'unet.{tiny.LINEAR}.lora_B.weight': tiny.draw(16, 2)},
      'half.*no lora_down',
    ),
    ({f'{tiny.kohya(tiny.LINEAR)}.alpha': 1.0}, 'half.*nothing but'),
    (tiny.PAIR | {f'{tiny.kohya(tiny.CONV)}.alpha': 1.0}, 'half.*nothing but'),
    (
      {f'{tiny.kohya(tiny.LINEAR)}.hada_w1_a': tiny.draw(16, 2)},
      'half.*no hada_w1_b',
    ),
    (
      {
        f'{tiny.kohya(tiny.LINEAR)}.hada_{part}': tiny.draw(*shape)
        for part, shape in {
          'w1_a': (16, 2),
          'w1_b': (2, 16),
          'w2_a': (16, 2),
          'w2_b': (2, 1),
        }.items()
      },
      'do not go together',
    ),
    (
      {f'{tiny.kohya(tiny.LINEAR)}.lokr_w2': tiny.draw(4, 4)},
      'half.*no lokr_w1',
    ),
    (
      tiny.PAIR | {f'{tiny.kohya(tiny.LINEAR)}.diff': tiny.draw(16, 16)},
      'LoRA.*expected one of',
    ),
    (
      tiny.PAIR | {f'{tiny.kohya(tiny.LINEAR)}.oft_blocks': tiny.draw(2, 2)},
      'is OFT',
    ),
    ({f'{tiny.kohya(tiny.LINEAR)}.a1.weight': tiny.draw(2, 2)}, 'is GLoRA'),
    ({f'{tiny.kohya(tiny.LINEAR)}.on_input': torch.ones(())}, 'is IA3'),
    ({'emb_params': tiny.draw(2, 16)}, 'textual inversion'),
    (
      {'clip_l': tiny.draw(2, 16), 'clip_g': tiny.draw(2, 16)},
      'textual inversion',
    ),
    ({'<my-concept>': tiny.draw(16)}, 'textual inversion'),
    (
      tiny.PAIR | {'bundle_emb.me.string_to_param.*': tiny.draw(2, 16)},
      'textual inv',
    ),
    (
      {'model.diffusion_model.out.2.weight': tiny.draw(2, 2)},
      'whole checkpoint',
    ),
    ({'control_model.out.weight': tiny.draw(2, 2)}, 'ControlNet'),
    (
      tiny.PAIR | {f'{tiny.kohya(tiny.LINEAR)}.dora_scale': tiny.draw(3, 1)},
      r'magnitudes are \[3, 1\]',
    ),
    (
      tiny.PAIR
      | {
        f'{tiny.kohya(tiny.LINEAR)}.dora_scale': torch.full((16, 1), torch.inf)
      },
      'NaN or infinity',
    ),
    (
      tiny.PAIR
      | {
        f'unet.{tiny.LINEAR}.lora_A.weight': tiny.draw(2, 16),
        f'unet.{tiny.LINEAR}.lora_B.weight': tiny.draw(16, 2),
      },
      'one layer twice',
    ),
    (
      {k: v[:, :1] if 'lora_down' in k else v for k, v in tiny.PAIR.items()},
      'does not fit the model: the layer has a weight of',
    ),
    (
      {k: v[:, :1] if 'lora_up' in k else v for k, v in tiny.PAIR.items()},
      'do not go together',
    ),
    (
      {k.replace('lora_unet_', 'lora_te2_'): v for k, v in tiny.PAIR.items()},
      'of another model: there is no layer lora_te2_',
    ),
    (
      {k: v.to(torch.float8_e4m3fn) for k, v in tiny.PAIR.items()},
      'quantised.*fp8',
    ),
    (
      {k: v.to(torch.int8) for k, v in tiny.PAIR.items()},
      'quantised weights .I8.',
    ),
    (
      {k: v.to(torch.int64) for k, v in tiny.PAIR.items()},
      'numbers of the type I64 in .*; expected float16',
    ),
    (
      {k: v.to(torch.complex64) for k, v in tiny.PAIR.items()},
      'numbers of the type C64 in .*; expected float16',
    ),
    ({}, 'has no tensors'),
    (
      {
        f'{tiny.kohya(tiny.LINEAR)}.lora_down.weight': torch.zeros(0, 16),
        f'{tiny.kohya(tiny.LINEAR)}.lora_up.weight': torch.zeros(16, 0),
      },
      r'without numbers in .*lora_down.weight, of the shape \[0, 16\].*save it',
    ),
    (
      {k: torch.ones(()) for k in tiny.PAIR},
      'do not go together',
    ),
    (
      tiny.PAIR | {f'{tiny.kohya(tiny.LINEAR)}.alpha': torch.ones(2)},
      'has 2 numbers in .*alpha; expected one',
    ),
    (
      tiny.PAIR | {f'{tiny.kohya(tiny.LINEAR)}.alpha': torch.nan},
      'NaN or infinity',
    ),
    (
      {
        f'unet.{tiny.LINEAR}.lora_{part}.{name}.weight': tensor
        for name in ('hat', 'smile')
        for part, tensor in (('A', tiny.draw(2, 16)), ('B', tiny.draw(16, 2)))
      },
      'has up of .* twice: .*hat.weight and .*smile.weight|down of .* twice',
    ),
    (
      tiny.PAIR | {f'unet.{tiny.LINEAR}.base_layer.weight': tiny.draw(16, 16)},
      'whole network that was saved with its adapter',
    ),
    ({'string_to_param.*': tiny.draw(2, 16)}, 'is textual inversion'),
    (
      {'controlnet_cond_embedding.conv_in.weight': tiny.draw(2, 2)},
      'looks like a ControlNet',
    ),
    ({'decoder.mid.block_1.x': tiny.draw(2)}, 'looks like a VAE alone'),
    ({'model.1.sub.0.RDB1.x': tiny.draw(2)}, 'like a network that enlarges'),
    (
      {'conditioner.embedders.0.x': tiny.draw(2), 'first_stage_model.x': 1.0},
      'looks like a whole checkpoint, which is a prior of its own',
    ),
    (
      {'down_blocks.0.resnets.0.conv1.weight': tiny.draw(2)},
      'looks like one network of diffusers, a UNet',
    ),
  ],
)
def test_what_cannot_be_merged_is_named_with_its_file(
  models, tensors, words, tmp_path
):
  path = tiny.save(tmp_path / 'my lora.safetensors', tensors)
  with pytest.raises(ValueError, match=words) as caught:
    tiny.merged(models['sd1'], (path, 1.0))
  assert str(path) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_a_lora_of_another_model_among_several_is_the_one_that_is_named(
  models, tmp_path
):
  good = tiny.save(tmp_path / 'good.safetensors', tiny.PAIR)
  layer = 'lora_unet_input_blocks_4_1_transformer_blocks_9_attn1_to_q'
  other = tiny.save(
    tmp_path / 'other.safetensors',
    {
      f'{layer}.lora_down.weight': tiny.draw(2, 16),
      f'{layer}.lora_up.weight': tiny.draw(16, 2),
    },
  )
  with pytest.raises(ValueError, match='other.safetensors is of another model'):
    tiny.merged(models['sd1'], (good, 0.8), (other, 0.4))


def test_a_file_twice_is_refused(models, tmp_path):
  path = tiny.save(tmp_path / 'one.safetensors', tiny.PAIR)
  link = tmp_path / 'other name.safetensors'
  link.symlink_to(path)
  for again in (path, link, tmp_path / '.' / path.name):
    with pytest.raises(ValueError, match='is given twice'):
      tiny.merged(models['sd1'], (path, 0.8), (again, 0.4))


@pytest.mark.parametrize('text', ['[1]', '{', '[' * 9999, '1', '[["r", 2]]'])
def test_metadata_that_are_none_are_named(models, text, tmp_path):
  path = tiny.save(
    tmp_path / 'x.safetensors', tiny.PAIR, {'lora_adapter_metadata': text}
  )
  with pytest.raises(
    ValueError, match='has metadata that are corrupt'
  ) as error:
    tiny.merged(models['sd1'], (path, 1.0))
  assert str(path) in str(error.value) and '\n' not in str(error.value)


ATTENTION = 'down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k'
WAYS = 'lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k'


@pytest.mark.parametrize(
  'layer, width, words',
  [
    (WAYS, 2048, f'there is no layer {WAYS}; it looks like one of Stable '
     'Diffusion XL.'),
    (WAYS, 1024, '; it looks like one of Stable Diffusion 2.'),
    (f'unet.{ATTENTION}', 2048, '; it looks like one of Stable Diffusion XL.'),
    (f'unet.{ATTENTION}', 768, '; it looks like one of Stable Diffusion 1.'),
    (f'unet.{ATTENTION}', 17, f'in layer unet.{ATTENTION}.'),
    ('lora_te2_text_model_encoder_layers_0_self_attn_q_proj', 1280,
     '; it looks like one of Stable Diffusion XL.'),
    ('lora_unet_double_blocks_0_img_attn_qkv', 3072, 'one of Flux.'),
    ('transformer.single_transformer_blocks.0.proj_mlp', 3072, 'one of Flux.'),
    ('lora_unet_joint_blocks_0_x_block_attn_qkv', 16, 'Stable Diffusion 3.'),
    ('diffusion_model.blocks.0.cross_attn.k', 16, 'looks like one of Wan.'),
    ('lora_prior_unet_x', 16, 'one of Stable Cascade or Kandinsky.'),
    ('unet.nobody.knows', 16, 'there is no layer unet.nobody.knows.'),
  ],
)  # fmt: skip
def test_a_lora_of_another_model_is_told_which_it_looks_like(
  models, layer, width, words, tmp_path
):
  path = tiny.save(
    tmp_path / 'other.safetensors',
    {
      f'{layer}.lora_down.weight': tiny.draw(2, width),
      f'{layer}.lora_up.weight': tiny.draw(640, 2),
    },
  )
  with pytest.raises(ValueError, match='LoRA') as caught:
    tiny.merged(models['sd1'], (path, 1.0))
  message = str(caught.value)
  assert message.endswith(words) and str(path) in message
  assert '\n' not in message


def test_a_factor_that_makes_infinity_is_named(models, tmp_path):
  path = tiny.save(tmp_path / 'strong.safetensors', tiny.PAIR)
  with pytest.raises(ValueError, match='not finite; give smaller') as caught:
    tiny.merged(models['sd1'], (path, 1e39))
  assert f'({path}, 1e+39)' in str(caught.value)


def adapter_config(folder, **changes):
  path = folder / 'adapter_config.json'
  config = json.loads(path.read_text()) | changes
  path.write_text(json.dumps(config))
  return path


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'peft_type': 'VERA'}, 'declares VERA'),
    ({'r': 4}, 'has rank 2.*says 4'),
    ({'lora_alpha': None}, 'as a rank or an alpha'),
    ({'lora_alpha': 'strong'}, "'strong' as a rank or an alpha"),
    ({'init_lora_weights': 'pissa'}, "init_lora_weights='pissa'"),
    ({'use_qalora': True}, 'has use_qalora'),
    ({'lora_alpha': float('inf')}, "'inf' as a rank or an alpha"),
    ({'lora_alpha': 10**400}, "'10000.* as a rank or an alpha"),
    ({'rank_pattern': [3]}, r"'\[3\]' as rank_pattern; expected an object"),
    ({'alpha_pattern': {'(': 3}}, "'\\(', which is no regular expression"),
    ({'target_modules': '*.to_q'}, "'.*to_q', which is no regular expression"),
    ({'target_modules': ['to_q', 'to_v', 'to_k']}, r'half.*lacks \d+ layers'),
  ],
)
def test_settings_of_peft_that_do_not_fit_are_named(
  models, changes, words, tmp_path
):
  tiny.trained_by_peft(models['sd1'].denoiser, 'lora', tmp_path)
  adapter_config(tmp_path, **changes)
  with pytest.raises(ValueError, match=words) as caught:
    tiny.merged(models['sd1'], (tmp_path, 1.0))
  assert str(tmp_path) in str(caught.value)


def test_an_adapter_of_peft_without_its_config_is_refused(models, tmp_path):
  tiny.trained_by_peft(models['sd1'].denoiser, 'lora', tmp_path)
  (tmp_path / 'adapter_config.json').unlink()
  with pytest.raises(FileNotFoundError, match='adapter_config.json is missing'):
    lora_files.read_lora(tmp_path)


def test_files_that_are_none_are_named(tmp_path):
  path = tmp_path / 'lora.safetensors'
  for content, words in (
    (b'version https://git-lfs.github.com/spec/v1\n', 'pointer of Git LFS'),
    (b'<html>', 'web page'),
    (b'GGUF', 'GGUF'),
  ):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'lora.safetensors is a.*{words}'):
      lora_files.read_lora(path)
  for ending in ('pt', 'ckpt', 'bin', 'CKPT'):
    pickled = tmp_path / f'lora.{ending}'
    pickled.write_bytes(b'\x80\x02')
    with pytest.raises(ValueError, match=f'lora.{ending} is not .safetensors'):
      lora_files.read_lora(pickled)
  with pytest.raises(FileNotFoundError, match='folder with 0'):
    (tmp_path / 'empty').mkdir()
    lora_files.read_lora(tmp_path / 'empty')
  tiny.save(path, tiny.PAIR)
  whole = path.read_bytes()
  for content in (b'', whole[:-1], whole[:40], whole + b'0'):
    path.write_bytes(content)
    with pytest.raises(ValueError, match='lora.safetensors is corrupt.*again'):
      lora_files.read_lora(path)
  tiny.save(path, {}, {'format': 'pt'})
  with pytest.raises(ValueError, match='lora.safetensors has no tensors'):
    lora_files.read_lora(path)
  model = tmp_path / 'model.safetensors'
  model.mkdir()
  (model / 'model_index.json').write_text('{}')
  with pytest.raises(ValueError, match='is a diffusers directory, which is a'):
    lora_files.read_lora(model)
  with pytest.raises(FileNotFoundError, match="hat, 0.8 is not a.*'hat.safe"):
    lora_files.read_lora('hat, 0.8')
