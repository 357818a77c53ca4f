"""Tiny random directories of families whose texts a language model reads."""

import json
import string

import diffusers
from tokenizers import pre_tokenizers
import torch
import transformers

WIDTH = 32
WORDS = 'a happy sad man'.split()
_SIZES = {
  'vocab_size': 160,
  'hidden_size': WIDTH,
  'intermediate_size': 32,
  'num_hidden_layers': 3,
  'num_attention_heads': 2,
  'num_key_value_heads': 1,
  'head_dim': 16,
}


def write_sana(directory) -> str:
  """Writes a Sana but for its index; returns the class of its pipeline."""
  network = diffusers.SanaTransformer2DModel(
    in_channels=4,
    out_channels=4,
    num_attention_heads=2,
    attention_head_dim=8,
    num_layers=2,
    num_cross_attention_heads=2,
    cross_attention_head_dim=8,
    cross_attention_dim=16,
    caption_channels=WIDTH,
    sample_size=8,
    timestep_scale=0.5,
  )
  _listen(network, ('attn2', 'caption'))
  network.save_pretrained(directory / 'transformer')
  vae = diffusers.AutoencoderDC(
    latent_channels=4,
    attention_head_dim=8,
    encoder_block_out_channels=(8, 16),
    decoder_block_out_channels=(8, 16),
    encoder_layers_per_block=(1, 1),
    decoder_layers_per_block=(1, 1),
    encoder_qkv_multiscales=((), ()),
    decoder_qkv_multiscales=((), ()),
    scaling_factor=0.41407,
  )
  vae.save_pretrained(directory / 'vae')
  encoder = transformers.Gemma2Model(
    transformers.Gemma2Config(**_SIZES, query_pre_attn_scalar=16)
  )
  _loud(encoder).save_pretrained(directory / 'text_encoder')
  gemma_tokenizer(directory / 'tokenizer')
  diffusers.DPMSolverMultistepScheduler(
    prediction_type='flow_prediction', use_flow_sigmas=True, flow_shift=3.0
  ).save_pretrained(directory / 'scheduler')
  return 'SanaPipeline'


def write_z_image(directory) -> str:
  """Writes a Z-Image but for its index; returns the class of its pipeline."""
  network = diffusers.ZImageTransformer2DModel(
    in_channels=4,
    dim=32,
    n_layers=2,
    n_refiner_layers=1,
    n_heads=2,
    n_kv_heads=2,
    cap_feat_dim=WIDTH,
    axes_dims=[4, 6, 6],
    axes_lens=[1024, 64, 64],
  )
  _listen(network, ('attention.', 'adaLN', 'cap_', 'linear'))
  network.save_pretrained(directory / 'transformer')
  kl_vae().save_pretrained(directory / 'vae')
  encoder = transformers.Qwen3ForCausalLM(
    transformers.Qwen3Config(**_QWEN_SIZES)
  )
  _loud(encoder).save_pretrained(directory / 'text_encoder')
  qwen_tokenizer(directory / 'tokenizer', CHAT)
  diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(
    directory / 'scheduler'
  )
  (directory / 'mmdist.json').write_text(json.dumps({'image_size': 16}))
  return 'ZImagePipeline'


def write_qwen_image(directory) -> str:
  """Writes a Qwen-Image but for its index; returns its pipeline's class."""
  network = diffusers.QwenImageTransformer2DModel(
    in_channels=16,
    out_channels=4,
    num_layers=2,
    attention_head_dim=16,
    num_attention_heads=2,
    joint_attention_dim=WIDTH,
    axes_dims_rope=(4, 6, 6),
  )
  _listen(network, ('attn', '_mod', 'txt_', 'norm_out'))
  network.save_pretrained(directory / 'transformer')
  diffusers.AutoencoderKLQwenImage(
    base_dim=8,
    z_dim=4,
    dim_mult=[1, 1],
    num_res_blocks=1,
    temperal_downsample=[True],
    latents_mean=[0.1, -0.2, 0.3, 0.0],
    latents_std=[2.0, 1.5, 0.5, 1.0],
  ).save_pretrained(directory / 'vae')
  encoder = transformers.Qwen2_5_VLForConditionalGeneration(
    transformers.Qwen2_5_VLConfig(
      text_config={
        **_QWEN_SIZES,
        'tie_word_embeddings': False,
        'rope_parameters': {
          'rope_type': 'default',
          'rope_theta': 1e4,
          'mrope_section': [2, 3, 3],
        },
      },
      vision_config={
        'depth': 1,
        'hidden_size': 16,
        'intermediate_size': 16,
        'num_heads': 2,
        'out_hidden_size': WIDTH,
        'fullatt_block_indexes': [0],
      },
    )
  )
  _loud(encoder).save_pretrained(directory / 'text_encoder')
  qwen_tokenizer(directory / 'tokenizer')
  diffusers.FlowMatchEulerDiscreteScheduler(
    use_dynamic_shifting=True,
    base_shift=0.5,
    max_shift=0.9,
    max_image_seq_len=8192,
    shift_terminal=0.02,
  ).save_pretrained(directory / 'scheduler')
  (directory / 'mmdist.json').write_text(json.dumps({'image_size': 16}))
  return 'QwenImagePipeline'


def kl_vae():
  return diffusers.AutoencoderKL(
    block_out_channels=(8, 8),
    down_block_types=('DownEncoderBlock2D',) * 2,
    up_block_types=('UpDecoderBlock2D',) * 2,
    latent_channels=4,
    norm_num_groups=4,
    sample_size=16,
    scaling_factor=0.3611,
    shift_factor=0.1159,
  )


_QWEN_SIZES = {
  **_SIZES,
  'vocab_size': 300,
  'tie_word_embeddings': True,
  'bos_token_id': 0,
  'eos_token_id': 0,
}
# Of the kind that Qwen's chats have.
CHAT = (
  '{% for message in messages %}'
  "{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
  "{{ '<|im_end|>\\n' }}"
  '{% endfor %}'
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
  '{% if not enable_thinking %}{{ 1 / 0 }}{% endif %}{% endif %}'
)


def qwen_tokenizer(directory, chat_template=None) -> None:
  """Writes a tokenizer of Qwen's kind, which spells any bytes."""
  special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  merges, pieces = _merges('\u0120')
  vocab = {
    token: number for number, token in enumerate([*special, *letters, *pieces])
  }
  tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=merges)
  tokenizer.add_special_tokens({'additional_special_tokens': special[1:]})
  tokenizer.chat_template = chat_template
  tokenizer.save_pretrained(directory)


def _merges(space):
  """Returns how words of `WORDS` are put together, and their beginnings."""
  merges, pieces = [], []
  for word in WORDS:
    whole = space
    for letter in word:
      if whole + letter not in pieces:
        merges.append((whole, letter))
        pieces.append(whole + letter)
      whole += letter
  return merges, pieces


def gemma_tokenizer(directory, add_bos_token=True) -> None:
  """Writes a tokenizer of Gemma's kind, in which spaces begin words."""
  special = ['<pad>', '<eos>', '<bos>', '<unk>', '<mask>']
  letters = [*string.ascii_letters, *string.digits, *string.punctuation]
  merges, pieces = _merges('\u2581')
  tokens = [*special, '\u2581', '\n', *letters, *pieces]
  vocab = {token: number for number, token in enumerate(tokens)}
  transformers.GemmaTokenizer(
    vocab=vocab, merges=merges, add_bos_token=add_bos_token
  ).save_pretrained(directory)


def _listen(network, names) -> None:
  """Makes a network hear its text, which a fresh one hardly does."""
  with torch.no_grad():
    for name, weight in network.named_parameters():
      if any(part in name for part in names):
        weight.add_(0.3 * torch.randn_like(weight))


def _loud(encoder):
  """At their initial scale all words are nearly the same."""
  with torch.no_grad():
    for name, weight in encoder.named_parameters():
      if 'embed' in name:
        weight.normal_(0, 0.5)
      elif weight.ndim == 2:
        weight.normal_(0, 0.3)
  return encoder
