"""The networks of the embedded priors, before any training.

Owns their architecture: a small pixel-space UNet that reads a word-level
tokenizer through a text encoder of CLIP's kind. `from_scratch` trains them;
afterwards they are a diffusers directory like any other.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import diffusers
import tokenizers
import torch
import transformers

from mmdist.core import errors
from mmdist.core import messages
from mmdist.priors import attention
from mmdist.priors import devices
from mmdist.priors import image_codec
from mmdist.priors import norms
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prompt_encoder
from mmdist.priors import schedule as schedules
from mmdist.priors import text_encoders

SPECIAL_TOKENS = ('<pad>', '<s>', '</s>', '<unk>')
# Words that no caption uses: identifier tokens that a personalisation may use.
IDENTIFIER_TOKENS = ('[v]', '[w]', '[v2]', '[v3]', '[v4]', '[w2]')
VOCABULARY_SIZE = 128  # Room for words that fine-tuning may add.


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The size of a small pixel-space prior.

  Attributes:
    image_size: H = W in pixels.
    patch: pixels folded into channels along each axis.
    widths: channels per resolution, finest first.
    attention: whether a resolution attends to the text, finest first.
    layers_per_block: residual blocks per resolution on the way down.
    text_width: size of a token's embedding.
    text_layers: layers of the text encoder.
    prompt_length: tokens of a text, both ends included.
    prediction: what the network predicts, see `schedules.PREDICTION_TYPES`. A
      small network learns to predict the image faster than v, which is mostly
      noise (Li and He 2025, arXiv:2511.13720; docs/results.md).
  """

  image_size: int = 64
  patch: int = 2
  widths: tuple[int, ...] = (48, 96, 160)
  attention: tuple[bool, ...] = (False, False, True)
  layers_per_block: int = 1
  text_width: int = 128
  text_layers: int = 2
  prompt_length: int = 40
  prediction: str = 'sample'


def make_tokenizer(
  words: Sequence[str], prompt_length: int
) -> transformers.PreTrainedTokenizerFast:
  """Builds a word-level tokenizer: one token per word, lowercase.

  Args:
    words: the vocabulary, besides special and identifier tokens.
    prompt_length: tokens of a text, both ends included.

  Raises:
    UserError: there are more than `VOCABULARY_SIZE` words.
  """
  vocabulary: dict[str, int] = {}
  for word in (*SPECIAL_TOKENS, *IDENTIFIER_TOKENS, *words):
    vocabulary.setdefault(word, len(vocabulary))
  if len(vocabulary) > VOCABULARY_SIZE:
    raise errors.UserError(
      f'the vocabulary has {len(vocabulary)} words; at most {VOCABULARY_SIZE} '
      'fit. Use fewer, or raise VOCABULARY_SIZE.'
    )
  model = tokenizers.models.WordLevel(vocabulary, unk_token='<unk>')
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = tokenizers.normalizers.Sequence(
    [
      tokenizers.normalizers.Lowercase(),
      tokenizers.normalizers.Replace(tokenizers.Regex(r'\s*,\s*'), ' , '),
    ]
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single='<s> $A </s>', special_tokens=[('<s>', 1), ('</s>', 2)]
  )
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    bos_token='<s>',
    eos_token='</s>',
    unk_token='<unk>',
    pad_token='<pad>',
    model_max_length=prompt_length,
  )


def make_pipeline(
  words: Sequence[str],
  architecture: Architecture = Architecture(),
  dtype: str = messages.AUTO,
  seed: int = 0,
  device: torch.device | str = 'cpu',
  world: str = 'clay',
) -> pipelines.Pipeline:
  """Builds an untrained pipeline with float32 weights.

  Args:
    words: the vocabulary; see `make_tokenizer`.
    architecture: its sizes.
    dtype: in which the networks compute; see `devices.resolve_dtype`.
    seed: decides the weights, the same ones on every device.
    device: where the networks lie.
    world: the name of the embedded world that it will know.
  """
  device = torch.device(device)
  with torch.random.fork_rng():
    torch.manual_seed(seed)
    unet = _make_unet(architecture)
    attention.choose_attention(unet, device)
    norms.quicken(unet, device)
    text_encoder = _make_text_encoder(architecture)
  length = architecture.prompt_length
  text_encoder.to(device)  # type: ignore[arg-type]
  reader = text_encoders.Reader(
    make_tokenizer(words, length), text_encoder, length
  )
  schedule = schedules.schedule_from_config(
    {
      '_class_name': 'DDPMScheduler',
      'num_train_timesteps': 1000,
      'beta_schedule': 'squaredcos_cap_v2',
      'prediction_type': architecture.prediction,
      'clip_sample': False,
    }
  )
  settings = {
    'image_codec': 'pixel_unshuffle',
    'factor': architecture.patch,
    'image_size': architecture.image_size,
    'prompt_length': architecture.prompt_length,
    'identifier_tokens': {'normal': '[w]', 'personal': '[v]'},
    'world': world,
  }
  return pipelines.Pipeline(
    denoiser=unet.to(device).to(memory_format=torch.channels_last),
    text=prompt_encoder.PromptEncoder([reader]),
    schedule=schedule,
    codec=image_codec.PixelCodec(architecture.patch),
    image_size=architecture.image_size,
    settings=settings,
    dtype=devices.resolve_dtype(dtype, device),
    device=device,
  )


def _make_unet(architecture: Architecture) -> Any:
  a = architecture
  channels = 3 * a.patch**2

  def blocks(
    plain: str, attending: str, flags: Sequence[bool]
  ) -> tuple[str, ...]:
    return tuple(attending if flag else plain for flag in flags)

  unet: Any = diffusers.UNet2DConditionModel(
    sample_size=a.image_size // a.patch,
    in_channels=channels,
    out_channels=channels,
    block_out_channels=a.widths,
    layers_per_block=a.layers_per_block,
    down_block_types=blocks('DownBlock2D', 'CrossAttnDownBlock2D', a.attention),
    up_block_types=blocks('UpBlock2D', 'CrossAttnUpBlock2D', a.attention[::-1]),
    cross_attention_dim=a.text_width,
    attention_head_dim=tuple(max(1, width // 32) for width in a.widths),
    norm_num_groups=16,
    # The whole sentence also moves the time embedding, and so reaches the
    # resolutions that do not attend to it.
    addition_embed_type='text',
    addition_embed_type_num_heads=4,
  )
  with torch.no_grad():
    # At its initial scale of 1 the sentence's embedding would be seven times as
    # large as the time embedding that it is added to.
    unet.add_embedding.norm2.weight.fill_(0.3)
  return unet


def _make_text_encoder(
  architecture: Architecture,
) -> transformers.CLIPTextModel:
  a = architecture
  config = transformers.CLIPTextConfig(
    vocab_size=VOCABULARY_SIZE,
    hidden_size=a.text_width,
    intermediate_size=2 * a.text_width,
    num_hidden_layers=a.text_layers,
    num_attention_heads=4,
    max_position_embeddings=a.prompt_length,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    projection_dim=a.text_width,
  )
  encoder = transformers.CLIPTextModel(config)
  with torch.no_grad():  # CLIP's own initial scale of 0.02 is slow to learn.
    for name, weight in encoder.named_parameters():
      if 'token_embedding' in name:
        weight.normal_(0, 0.5)
      elif 'position_embedding' in name:
        weight.normal_(0, 0.1)
  return encoder
