"""How each family of models reads a text: which layers, and how joined.

Owns what diffusers' pipelines do between a prompt and the network's
conditions; words, lengths and the memory of texts are `prompt_encoder.py`'s.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import torch
from torch.nn import functional
import transformers

from mmdist.core import emphasis
from mmdist.priors import chat_templates
from mmdist.priors import prompt_chunks


@dataclasses.dataclass(frozen=True, eq=False)
class PromptEmbeds:
  """What a network is told of N texts.

  Attributes:
    sequence: [N, L, D] float32, for its cross-attention.
    pooled: [N, P] float32, one vector per text; None where it wants none. Where
      the network is told which tokens are padding (PixArt, Sana), it is [N, L],
      1 for tokens and 0 for padding.
  """

  sequence: torch.Tensor
  pooled: torch.Tensor | None = None

  def to(
    self, device: torch.device | str, dtype: torch.dtype
  ) -> 'PromptEmbeds':
    """Returns it on another device, in another dtype."""
    pooled = self.pooled
    return PromptEmbeds(
      self.sequence.to(device, dtype),
      None if pooled is None else pooled.to(device, dtype),
    )


def stack(prompt_embeds: Sequence[PromptEmbeds]) -> PromptEmbeds:
  """Joins the embeddings of single texts into one batch."""
  return PromptEmbeds(
    torch.cat([e.sequence for e in prompt_embeds]),
    None
    if prompt_embeds[0].pooled is None
    else torch.cat(_pooled(prompt_embeds)),
  )


def _pooled(prompt_embeds: Sequence[PromptEmbeds]) -> list[torch.Tensor]:
  """Returns the vectors of those that have one."""
  return [e.pooled for e in prompt_embeds if e.pooled is not None]


@dataclasses.dataclass(frozen=True)
class Style:
  """How one encoder is read.

  Attributes:
    penultimate: take the layer before the last, as SDXL and SD 3 do.
    masked: padding is hidden from the encoder (DeepFloyd IF).
    lowercase: texts are lowered and stripped first (DeepFloyd IF).
    pooler: its vector is the last token's, without a projection (Flux).
    tells_mask: its vector is which tokens are none, for the network (PixArt).
    zero_padding: what is read of padding is all zeros (AuraFlow).
  """

  penultimate: bool = False
  masked: bool = False
  lowercase: bool = False
  pooler: bool = False
  tells_mask: bool = False
  zero_padding: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
  """One tokenizer with its encoder.

  Attributes:
    tokenizer: a fast tokenizer of transformers.
    text_encoder: a CLIPTextModel, with or without projection, or one
      of T5's kind.
    length: L, tokens that every text is padded to.
    style: how it is read.
    template: what is around a text; None if nothing is. See `chat_readers`.
  """

  tokenizer: transformers.PreTrainedTokenizerBase
  text_encoder: Any
  length: int
  style: Style = Style()
  template: chat_templates.Template | None = None

  def read(self, texts: Sequence[str]) -> PromptEmbeds:
    """Encodes N texts that fit, with gradient where weights have it."""
    if self.style.lowercase:
      texts = [text.lower().strip() for text in texts]
    tokens = self.tokenizer(
      list(texts),
      padding='max_length',
      truncation=True,
      max_length=self.length,
      return_tensors='pt',
    ).to(self.text_encoder.device)
    return self.read_tokens(tokens['input_ids'], tokens['attention_mask'])

  def read_tokens(
    self, tokens: torch.Tensor, attention_mask: torch.Tensor | None = None
  ) -> PromptEmbeds:
    """Encodes N texts that are tokens already.

    Args:
      tokens: [N, L] int64 on the encoder's device.
      attention_mask: [N, L], 0 for padding; only where the style hides it.
    """
    output = self.text_encoder(
      tokens,
      attention_mask=attention_mask if self.style.masked else None,
      output_hidden_states=self.style.penultimate,
    )
    hidden = (
      output.hidden_states[-2]
      if self.style.penultimate
      else output.last_hidden_state
    )
    if self.style.zero_padding and attention_mask is not None:
      hidden = hidden * attention_mask[..., None]
    pooled = getattr(output, 'text_embeds', None)
    if self.style.pooler:
      pooled = output.pooler_output
    elif self.style.tells_mask:
      pooled = attention_mask
    return PromptEmbeds(
      hidden.float(), None if pooled is None else pooled.float()
    )


def read_chunks(
  reader: Reader, asked: Sequence[emphasis.Emphasised], num_chunks: int = 1
) -> PromptEmbeds:
  """Encodes N texts with their weights, each in so many pieces.

  A token's embedding z is moved away from, or towards, that of the empty text
  at its place: e + weight (z - e). So a weight of 1 changes nothing, and one of
  0 leaves what is read where nothing is said.

  Args:
    reader: whose encoder reads.
    asked: texts without their marks.
    num_chunks: pieces of each; their sequences follow each other.
  """
  tokenizer, length = reader.tokenizer, reader.length
  nothing = emphasis.Emphasised('', ())
  cuts = []
  for one in asked:
    one = prompt_chunks.prepare(tokenizer, one, reader.style.lowercase)
    pieces = [one]
    if num_chunks > 1:
      pieces, _ = prompt_chunks.cut(tokenizer, one, length, num_chunks)
    cuts.append(pieces + [nothing] * (num_chunks - len(pieces)))
  chunks = [
    _weighted(reader, list(pieces)) for pieces in zip(*cuts, strict=True)
  ]
  if num_chunks == 1:
    return chunks[0]
  return PromptEmbeds(
    torch.cat([chunk.sequence for chunk in chunks], 1), chunks[0].pooled
  )


def _weighted(
  reader: Reader, pieces: Sequence[emphasis.Emphasised]
) -> PromptEmbeds:
  read = reader.read([piece.text for piece in pieces])
  if all(piece.is_plain for piece in pieces):
    return read
  weights = torch.tensor(
    [
      prompt_chunks.weights_of_tokens(reader.tokenizer, piece, reader.length)
      for piece in pieces
    ]
  ).to(read.sequence)
  empty = reader.read(['']).sequence
  return PromptEmbeds(
    empty + weights[..., None] * (read.sequence - empty), read.pooled
  )


def dtype_of(
  encoder: torch.nn.Module, name: str, dtype: torch.dtype
) -> torch.dtype:
  """Returns in which dtype a weight of a text encoder is kept.

  Some of T5's layers overflow in float16, and transformers keeps them in
  float32 where it opens the files itself.

  Args:
    encoder: the text encoder.
    name: of the weight in it.
    dtype: that is asked for.
  """
  kept = getattr(encoder, '_keep_in_fp32_modules', None) or ()
  is_kept = dtype == torch.float16 and set(kept) & set(name.split('.'))
  return torch.float32 if is_kept else dtype


@torch.no_grad()
def lower(encoder: torch.nn.Module, dtype: torch.dtype) -> None:
  """Rounds a text encoder's weights to a dtype, in place."""
  for name, weight in encoder.named_parameters():
    weight.data = weight.data.to(dtype_of(encoder, name, dtype))


Join = Callable[[Sequence[PromptEmbeds]], PromptEmbeds]


def join_one(read: Sequence[PromptEmbeds]) -> PromptEmbeds:
  """SD 1 and 2, DeepFloyd IF, AuraFlow: one encoder, its sequence."""
  return PromptEmbeds(read[0].sequence)


def join_masked(read: Sequence[PromptEmbeds]) -> PromptEmbeds:
  """PixArt, Sana: one encoder, its sequence, and which tokens are padding."""
  return read[0]


def join_flux(read: Sequence[PromptEmbeds]) -> PromptEmbeds:
  """Flux: CLIP's vector, and T5's sequence."""
  return PromptEmbeds(read[1].sequence, read[0].pooled)


def join_two(read: Sequence[PromptEmbeds]) -> PromptEmbeds:
  """Stable Diffusion XL: features side by side, the second one's vector."""
  return PromptEmbeds(
    torch.cat([one.sequence for one in read], -1), read[1].pooled
  )


def join_three(num_t5_tokens: int, width: int) -> Join:
  """Stable Diffusion 3: two CLIPs side by side, then T5 behind them.

  Args:
    num_t5_tokens: of T5's sequence; zeros where the directory has no T5.
    width: D of the network.
  """

  def join(read: Sequence[PromptEmbeds]) -> PromptEmbeds:
    clip = torch.cat([one.sequence for one in read[:2]], -1)
    clip = functional.pad(clip, (0, width - clip.shape[-1]))
    t5 = (
      read[2].sequence
      if len(read) > 2
      else clip.new_zeros(len(clip), num_t5_tokens, width)
    )
    pooled = torch.cat(_pooled(read[:2]), -1)
    return PromptEmbeds(torch.cat([clip, t5], 1), pooled)

  return join
