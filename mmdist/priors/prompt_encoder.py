"""Turns texts into embeddings, each text once.

Owns what is said of words that a prior does not know and of texts that are too
long. Which layers are read is `text_encoders.py`'s.
"""

from collections.abc import Sequence
import difflib
import warnings

import torch
import transformers

from mmdist.core import emphasis
from mmdist.core import errors
from mmdist.priors import chat_templates
from mmdist.priors import prompt_chunks
from mmdist.priors import text_encoders
from mmdist.priors import vocabulary


def unknown_words(
  tokenizer: transformers.PreTrainedTokenizerBase, text: str
) -> dict[str, str]:
  """Returns each word the vocabulary lacks, with the nearest one it has.

  Only a word-level vocabulary (the embedded one) lacks words; byte-pair ones
  such as CLIP's spell anything, so for them this is always empty.
  """
  unknown = vocabulary.unknown_words(tokenizer.backend_tokenizer, text)
  if not unknown:
    return {}
  special = set(tokenizer.all_special_tokens)
  known = sorted(word for word in tokenizer.get_vocab() if word not in special)
  return {
    word: difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]
    for word in unknown
  }


def check_text(
  tokenizer: transformers.PreTrainedTokenizerBase,
  text: str,
  prompt_length: int,
  num_chunks: int = 1,
  template: chat_templates.Template | None = None,
) -> None:
  """Checks that a tokenizer knows all words of a text, and that it is not long.

  Args:
    tokenizer: a fast tokenizer of transformers.
    text: a prompt, with its marks; empty is the unconditional one.
    prompt_length: tokens that the text encoder takes, both ends included.
    num_chunks: how often it is asked; see `PromptEncoder`.
    template: what is around the text where a language model reads it, which
      `prompt_length` does not count.

  Raises:
    UserError: a mark that cannot be read, or one of emphasis where a language
      model reads the text; or unknown words, with the nearest
      known ones; or, for a word-level vocabulary, more words than fit. With a
      byte-pair vocabulary a long text causes a warning only: long prompts are
      common there, and it is usual to truncate them.
  """
  asked = emphasis.parse(text)
  if len(asked.breaks) >= num_chunks:
    raise errors.UserError(
      f'prompt {_short(text)} has BREAK, which begins a new chunk; expected '
      f'prompt_chunks={len(asked.breaks) + 1} of the prior, or no BREAK.'
    )
  if template is not None:
    chat_templates.check_plain(_short(text), asked.is_plain)
    _check_in_template(tokenizer, asked.text, prompt_length, template)
    return
  asked = prompt_chunks.prepare(tokenizer, asked)
  if num_chunks > 1:
    pieces, rest = prompt_chunks.cut(
      tokenizer, asked, prompt_length, num_chunks
    )
    if rest:
      _too_much(tokenizer, text, rest, num_chunks)
    for piece in pieces:
      _check_words(tokenizer, piece.text)
    return
  text = asked.text
  # Not verbose: texts that are too long are reported below.
  ids = tokenizer(text, truncation=False, padding=False, verbose=False)
  ids = ids['input_ids']
  if len(ids) > prompt_length:
    _too_long(tokenizer, text, ids, prompt_length)
  _check_words(tokenizer, text)


def _check_in_template(
  tokenizer: transformers.PreTrainedTokenizerBase,
  text: str,
  prompt_length: int,
  template: chat_templates.Template,
) -> None:
  """Warns of a text that is cut, or of what is behind it."""
  cut = chat_templates.cut_off(tokenizer, template, text, prompt_length)
  if cut is not None:
    count, most, rest = cut
    named = _short(rest) if rest else 'the end of its template'
    warnings.warn(
      f'prompt {_short(text)} has {count} tokens; at most {most} fit; '
      f'cut off: {named}.',
      stacklevel=3,
    )


def _check_words(
  tokenizer: transformers.PreTrainedTokenizerBase, text: str
) -> None:
  unknown = unknown_words(tokenizer, text)
  if unknown:
    named = ', '.join(
      f'{word[:40]!r} (nearest: {near!r})' for word, near in unknown.items()
    )
    raise errors.UserError(f'prompt {_short(text)} has unknown words: {named}.')


def _too_long(
  tokenizer: transformers.PreTrainedTokenizerBase,
  text: str,
  ids: list[int],
  prompt_length: int,
) -> None:
  ends = tokenizer.num_special_tokens_to_add()
  message = (
    f'prompt {_short(text)} has {len(ids) - ends} tokens; '
    f'at most {prompt_length - ends} fit'
  )
  if vocabulary.has_words_only(tokenizer.backend_tokenizer):
    raise errors.UserError(f'{message}; use fewer words.')
  # It is a string already; only the type allows a list of texts, too.
  cut = str(
    tokenizer.decode(ids[prompt_length - 1 :], skip_special_tokens=True)
  )
  warnings.warn(f'{message}; cut off: {_short(cut)}.', stacklevel=2)


def _too_much(
  tokenizer: transformers.PreTrainedTokenizerBase,
  text: str,
  rest: str,
  num_chunks: int,
) -> None:
  message = f'prompt {_short(text)} does not fit into {num_chunks} chunks'
  if vocabulary.has_words_only(tokenizer.backend_tokenizer):
    raise errors.UserError(f'{message}; use fewer words.')
  warnings.warn(f'{message}; cut off: {_short(rest)}.', stacklevel=3)


def _short(text: str) -> str:
  return repr(text if len(text) <= 80 else f'{text[:77]}...')


class PromptEncoder:
  """Encodes texts as the network reads them, and remembers each.

  Attributes:
    readers: the text encoders, in the order of their folders.
    empty_is_zero: the empty text is all zeros (SDXL).
    num_chunks: a text is read in as many pieces, one behind the other; those
      that it does not fill are empty. The pooled vector is the first one's.
  """

  def __init__(
    self,
    readers: Sequence[text_encoders.Reader],
    join: text_encoders.Join = text_encoders.join_one,
    empty_is_zero: bool = False,
    num_chunks: int = 1,
  ):
    self.readers = tuple(readers)
    self.empty_is_zero = empty_is_zero
    self.num_chunks = num_chunks
    self._join = join
    self._cache: dict[str, text_encoders.PromptEmbeds] = {}

  @property
  def modules(self) -> list[torch.nn.Module]:
    """The text encoders themselves."""
    return [reader.text_encoder for reader in self.readers]

  def encode(self, texts: Sequence[str]) -> text_encoders.PromptEmbeds:
    """Returns the embeddings of N texts, without gradient.

    Raises:
      UserError: as `check_text`.
    """
    for text in texts:
      if text not in self._cache:
        # One by one, so that an embedding never depends on its neighbours.
        with torch.no_grad():
          self._cache[text] = self.encode_afresh([text])
    return text_encoders.stack([self._cache[text] for text in texts])

  def encode_afresh(self, texts: Sequence[str]) -> text_encoders.PromptEmbeds:
    """Does what `encode` does, for training: with gradient, without memory."""
    for text in texts:
      self.check(text)
    asked = [emphasis.parse(text) for text in texts]
    prompt_embeds = self._join(
      [
        text_encoders.read_chunks(reader, asked, self.num_chunks)
        for reader in self.readers
      ]
    )
    if not self.empty_is_zero:
      return prompt_embeds
    said = torch.tensor([float(bool(text)) for text in texts])
    said = said.to(prompt_embeds.sequence)
    pooled = prompt_embeds.pooled
    return text_encoders.PromptEmbeds(
      prompt_embeds.sequence * said[:, None, None],
      None if pooled is None else pooled * said[:, None],
    )

  def check(self, text: str) -> None:
    """Checks a text with every tokenizer; see `check_text`."""
    for reader in self.readers:
      check_text(
        reader.tokenizer,
        text,
        reader.length,
        self.num_chunks,
        reader.template,
      )

  def forget(self) -> None:
    """Empties the memory; to be called when a text encoder has changed."""
    self._cache.clear()
