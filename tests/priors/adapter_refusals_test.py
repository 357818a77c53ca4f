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
  for ending in ('pt', 'ckpt', 'bin'):
    pickled = tmp_path / f'lora.{ending}'
    pickled.write_bytes(b'\x80\x02')
    with pytest.raises(ValueError, match=f'lora.{ending} is not .safetensors'):
      lora_files.read_lora(pickled)
  with pytest.raises(FileNotFoundError, match='folder with 0'):
    (tmp_path / 'empty').mkdir()
    lora_files.read_lora(tmp_path / 'empty')
