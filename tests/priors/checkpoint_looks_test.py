"""What a checkpoint in one file looks like; the figures of published ones."""

import json

import diffusers
import pytest
import torch
import transformers

from mmdist.priors import checkpoint_looks
from mmdist.priors import checkpoint_weights
from mmdist.priors import families
from mmdist.priors import locate
from mmdist.priors import single_file
from tests.priors import tiny_checkpoints

# Of the published models, in their papers and model cards.
PUBLISHED = {
  'sd1': {'unet': 859_520_964, 'vae': 83_653_863, 'text_encoder': 123_060_480},
  'sd2': {'unet': 865_910_724, 'vae': 83_653_863, 'text_encoder': 340_387_840},
  'sdxl': {
    'unet': 2_567_463_684,
    'vae': 83_653_863,
    'text_encoder': 123_060_480,
    'text_encoder_2': 694_659_840,
  },
  'sd3': {
    'vae': 83_819_683,
    'text_encoder': 123_650_304,
    'text_encoder_2': 694_659_840,
    'text_encoder_3': 4_762_310_656,
  },
  'flux': {
    'vae': 83_819_683,
    'text_encoder': 123_060_480,
    'text_encoder_2': 4_762_310_656,
  },
}


@pytest.mark.parametrize('family', PUBLISHED)
def test_the_figures_that_are_shipped_have_the_published_sizes(family):
  figures = json.loads((single_file._FIGURES / f'{family}.json').read_text())
  for component, expected in PUBLISHED[family].items():
    config = figures[component]
    name = config.get('_class_name') or config['architectures'][0]
    cls = getattr(diffusers, name, None) or getattr(transformers, name)
    with torch.device('meta'):
      module = checkpoint_weights._build(cls, config)
    found = sum(weight.numel() for weight in module.parameters())
    assert found == expected, component


@pytest.mark.parametrize('family', ['sd1', 'sd2', 'sdxl'])
def test_the_names_of_the_published_sizes_are_all_known(family):
  """Shapes only: 2.6 billion numbers of Stable Diffusion XL have no memory."""
  figures = json.loads((single_file._FIGURES / f'{family}.json').read_text())
  with torch.device('meta'):
    unet = checkpoint_weights._build(
      diffusers.UNet2DConditionModel, figures['unet']
    )
    vae = checkpoint_weights._build(diffusers.AutoencoderKL, figures['vae'])
  for component, module, theirs in (
    ('unet', unet, tiny_checkpoints.unet_names(unet)),
    ('vae', vae, tiny_checkpoints.vae_names(vae)),
  ):
    renamed = checkpoint_weights._rename(
      component, theirs, module, figures[component], ''
    )
    wanted = {name: w.shape for name, w in module.state_dict().items()}
    assert {name: w.shape for name, w in renamed.items()} == wanted
  names = tiny_checkpoints.unet_names(unet)
  # As published files have them.
  network = 'model.diffusion_model'
  some = {
    'sd1': f'{network}.output_blocks.11.0.skip_connection.weight',
    'sd2': f'{network}.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight',
    'sdxl': f'{network}.output_blocks.2.1.transformer_blocks.9.norm1.weight',
  }
  assert some[family] in names
  look = checkpoint_looks.look(
    'file', {k: {'shape': list(v.shape)} for k, v in names.items()}
  )
  # Of the network alone, whose text encoder is elsewhere.
  assert look.family == family


SD3 = {
  '3 medium': {
    'num_layers': 24,
    'num_attention_heads': 24,
    'caption_projection_dim': 1536,
    'pos_embed_max_size': 192,
  },
  '3.5 medium': {
    'num_layers': 24,
    'num_attention_heads': 24,
    'caption_projection_dim': 1536,
    'pos_embed_max_size': 384,
    'qk_norm': 'rms_norm',
    'dual_attention_layers': list(range(13)),
  },
  '3.5 large': {
    'num_layers': 38,
    'num_attention_heads': 38,
    'caption_projection_dim': 2432,
    'pos_embed_max_size': 192,
    'qk_norm': 'rms_norm',
  },
}


@pytest.mark.parametrize('size', SD3)
def test_the_sizes_of_stable_diffusion_3_are_told_from_shapes(size):
  with torch.device('meta'):
    network = diffusers.SD3Transformer2DModel(
      attention_head_dim=64,
      in_channels=16,
      joint_attention_dim=4096,
      out_channels=16,
      patch_size=2,
      pooled_projection_dim=2048,
      sample_size=128,
      **SD3[size],
    )
  theirs = tiny_checkpoints.sd3_names(network)
  header = {name: {'shape': list(w.shape)} for name, w in theirs.items()}
  config = checkpoint_looks.sd3_config(header)
  with torch.device('meta'):
    ours = checkpoint_weights._build(type(network), config)
  wanted = {name: w.shape for name, w in network.state_dict().items()}
  assert {name: w.shape for name, w in ours.state_dict().items()} == wanted
  assert ours.config.dual_attention_layers == list(
    network.config.dual_attention_layers
  )
  renamed = checkpoint_weights._rename('transformer', theirs, ours, config, '')
  assert {name: w.shape for name, w in renamed.items()} == wanted


def error_of(file):
  with pytest.raises(ValueError) as caught:
    locate.locate(str(file))
  message = str(caught.value)
  assert '\n' not in message and str(file) in message
  return message


NETWORK = 'model.diffusion_model.'


def first(channels):
  return {f'{NETWORK}input_blocks.0.0.weight': torch.ones(8, channels, 3, 3)}


@pytest.mark.parametrize(
  'tensors, words',
  [
    ({'double_blocks.0.img_attn.qkv.weight': None}, 'a relative of Flux'),
    (
      {f'{NETWORK}double_blocks.0.img_attn.qkv.weight': None},
      'a relative of Flux',
    ),
    ({'conv_in.weight': None}, 'looks like nothing that is known'),
    ({'down_blocks.0.resnets.0.conv1.weight': None}, 'one network of diffus'),
    ({'lora_unet_x.lora_down.weight': None}, 'a LoRA; give it by --config'),
    ({'lora_unet_x.oft_blocks': None}, 'looks like a LoRA'),
    ({'control_model.input.weight': None} | first(4), 'a ControlNet'),
    ({'decoder.mid.block_1.conv1.weight': None}, 'a VAE alone'),
    (first(9), 'paints into a given image'),
    (first(8), 'edits a given image'),
    (first(4) | {'edm_mean': None}, 'a model of EDM'),
    (
      first(4) | {'conditioner.embedders.0.model.ln_final.bias': None},
      'the refiner of Stable Diffusion XL',
    ),
    (first(4) | {f'{NETWORK}label_emb.weight': None}, 'enlarges images'),
    # The refiner's network alone.
    (
      first(4) | {f'{NETWORK}label_emb.0.0.weight': torch.ones(2, 2560)},
      'the refiner of Stable Diffusion XL',
    ),
    (
      first(8) | {f'{NETWORK}input_blocks.1.0.time_stack.x': None},
      'Stable Video Diffusion',
    ),
    ({f'{NETWORK}input_blocks.0.0.weight': None}, 'nothing that is known'),
    ({}, 'looks like an empty file'),
    ({'input_blocks.0.0.weight': None}, 'a UNet alone whose tensors lack'),
    ({'clip_g': None, 'clip_l': None}, 'a textual inversion'),
    ({'string_to_param.*': None}, 'a textual inversion'),
    ({'<cat>': None}, 'a textual inversion'),
    (
      {'controlnet_blocks.0.weight': None, 'double_blocks.0.x': None},
      'a ControlNet, which is no prior by itself',
    ),
    ({'adapter.body.0.x': None}, 'a T2I-Adapter'),
    ({'conv_first.weight': None}, 'a network that enlarges images'),
    ({'model.1.sub.0.RDB1.x': None}, 'a network that enlarges images'),
    ({'vision_model.x': None}, 'an encoder of images'),
    ({'encoder.block.0.layer.0.SelfAttention.q.weight': None}, 'encoder (T5)'),
    # Whole models of other families have text encoders too.
    (
      {
        'text_encoders.clip_l.transformer.text_model.x': None,
        f'{NETWORK}double_blocks.0.x': None,
        'vae.decoder.mid.block_1.x': None,
      },
      'looks like a part or a relative of Flux; expected',
    ),
  ],
)
def test_another_family_is_told_what_it_looks_like(tmp_path, tensors, words):
  file = tmp_path / 'model.safetensors'
  tiny_checkpoints.save(
    {k: torch.ones(2) if v is None else v for k, v in tensors.items()}, file
  )
  assert words in error_of(file)


def test_every_refusal_of_a_family_names_the_way_out(tmp_path):
  file = tmp_path / 'model.safetensors'
  tiny_checkpoints.save({'double_blocks.0.x': torch.ones(2)}, file)
  assert 'from_single_file' in error_of(file)


def test_a_folder_is_told_by_the_file_in_it(tmp_path):
  file = tmp_path / 'model.safetensors'
  for tensors, words in (
    (first(4), 'a checkpoint in one file; open it with'),
    ({'unet.x.lora_A.weight': torch.ones(2)}, 'like a LoRA; give it by'),
    ({'x.weight': torch.ones(2)}, 'looks like nothing that is known'),
  ):
    tiny_checkpoints.save(tensors, file)
    with pytest.raises(ValueError, match=words) as caught:
      families.read_family(tmp_path)
    assert str(file) in str(caught.value) and '\n' not in str(caught.value)
  file.write_bytes(b'')
  with pytest.raises(ValueError, match='model.safetensors is corrupt'):
    families.read_family(tmp_path)
