"""Texts in pieces that a text encoder can read one after the other.

A piece ends where a word does, so that its tokens are those of the whole text.
Pieces are cut by characters, since two tokenizers of one model may differ.
"""

import dataclasses
from typing import Any

from mmdist.core import emphasis
from mmdist.priors import vocabulary


def prepare(
  tokenizer: Any, asked: emphasis.Emphasised, lowercase: bool = False
) -> emphasis.Emphasised:
  """Returns a text as an encoder's tokenizer is given it; see `vocabulary`."""
  text = vocabulary.tidy(tokenizer.backend_tokenizer, asked.text)
  if lowercase:
    lowered = text.lower()
    # A few letters have two in lower case, and weights are one per character.
    text = lowered if len(lowered) == len(text) else text
  return dataclasses.replace(asked, text=text)


def cut(
  tokenizer: Any, asked: emphasis.Emphasised, length: int, num_chunks: int
) -> tuple[list[emphasis.Emphasised], str]:
  """Cuts a text into at most so many pieces.

  Args:
    tokenizer: a fast tokenizer of transformers.
    asked: a text, prepared.
    length: tokens of a piece, both ends included.
    num_chunks: most pieces.

  Returns:
    Pieces, one or more, and the text behind them, which nobody reads.
  """
  room = length - tokenizer.num_special_tokens_to_add()
  pieces: list[emphasis.Emphasised] = []
  first = 0
  while len(pieces) < num_chunks:
    ends = [place for place in asked.breaks if place > first]
    last = min([*ends, len(asked.text)])
    end = _fitting(tokenizer, asked.text[first:last], room)
    pieces.append(_slice(asked, first, first + end))
    first += end
    if first >= len(asked.text):
      break
  return pieces, asked.text[first:].strip()


def _fitting(tokenizer: Any, text: str, room: int) -> int:
  """Returns how many characters fit: whole words, if there is more than one."""
  tokens = tokenizer(
    text,
    add_special_tokens=False,
    truncation=False,
    padding=False,
    return_offsets_mapping=True,
    verbose=False,
  )
  if len(tokens['input_ids']) <= room:
    return len(text)
  # The first token that has no room, and the beginning of its word.
  words = tokens.word_ids()
  start = words.index(words[room])
  return int(tokens['offset_mapping'][start or room][0])


def _slice(
  asked: emphasis.Emphasised, first: int, last: int
) -> emphasis.Emphasised:
  return emphasis.Emphasised(asked.text[first:last], asked.weights[first:last])


def weights_of_tokens(
  tokenizer: Any, piece: emphasis.Emphasised, length: int
) -> list[float]:
  """Returns one weight per token of a piece, ends and padding included.

  A token has the weight of its first character; ends and padding have 1.
  """
  tokens = tokenizer(
    piece.text,
    padding='max_length',
    truncation=True,
    max_length=length,
    return_offsets_mapping=True,
    return_special_tokens_mask=True,
  )
  return [
    1.0 if is_special or last <= first else piece.weights[first]
    for (first, last), is_special in zip(
      tokens['offset_mapping'], tokens['special_tokens_mask'], strict=True
    )
  ]
