"""Texts to embeddings, each text once; unknown words and long texts named."""

from collections.abc import Sequence
import difflib
import warnings

import torch


def unknown_words(tokenizer, text: str) -> dict[str, str]:
  """Returns each word the vocabulary lacks, with the nearest one it has.

  Only a word-level vocabulary (the embedded one) lacks words; byte-pair ones
  such as CLIP's spell anything, so for them this is always empty.
  """
  backend = tokenizer.backend_tokenizer
  if type(backend.model).__name__ != 'WordLevel':
    return {}
  vocabulary = tokenizer.get_vocab()
  special = set(tokenizer.all_special_tokens)
  known = sorted(word for word in vocabulary if word not in special)
  return {
    word: difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]
    for word in _words(backend, text)
    if word not in vocabulary
  }


def _words(backend, text: str) -> list[str]:
  if backend.normalizer is not None:
    text = backend.normalizer.normalize_str(text)
  if backend.pre_tokenizer is None:
    return text.split()
  return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


def check_text(tokenizer, text: str, prompt_length: int) -> None:
  """Checks that a text means to the tokenizer what it says.

  Args:
    tokenizer: a fast tokenizer of transformers.
    text: a prompt; empty is the unconditional one.
    prompt_length: tokens that the text encoder takes, both ends included.

  Raises:
    ValueError: unknown words, with the nearest known ones; or, for a
      word-level vocabulary, more words than fit. A byte-pair one only warns,
      since long prompts are common there and the cut is the field's custom.
  """
  # Not verbose: too many tokens is ours to say, below.
  ids = tokenizer(text, truncation=False, padding=False, verbose=False)
  ids = ids['input_ids']
  if len(ids) > prompt_length:
    _too_long(tokenizer, text, ids, prompt_length)
  unknown = unknown_words(tokenizer, text)
  if unknown:
    named = ', '.join(
      f'{word[:40]!r} (nearest: {near!r})' for word, near in unknown.items()
    )
    raise ValueError(f'prompt {_short(text)} has unknown words: {named}.')


def _too_long(tokenizer, text: str, ids, prompt_length: int) -> None:
  ends = tokenizer.num_special_tokens_to_add()
  message = (
    f'prompt {_short(text)} has {len(ids) - ends} tokens; '
    f'at most {prompt_length - ends} fit'
  )
  if type(tokenizer.backend_tokenizer.model).__name__ == 'WordLevel':
    raise ValueError(f'{message}; use fewer words.')
  cut = tokenizer.decode(ids[prompt_length - 1 :], skip_special_tokens=True)
  warnings.warn(f'{message}; cut off: {_short(cut)}.', stacklevel=2)


def _short(text: str) -> str:
  return repr(text if len(text) <= 80 else f'{text[:77]}...')


class PromptEncoder:
  """Encodes texts as the UNet reads them, and remembers each.

  Attributes:
    tokenizer: a fast tokenizer of transformers.
    text_encoder: a CLIPTextModel.
    prompt_length: L, tokens that every text is padded to.
  """

  def __init__(self, tokenizer, text_encoder, prompt_length: int):
    self.tokenizer = tokenizer
    self.text_encoder = text_encoder
    self.prompt_length = prompt_length
    self._cache: dict[str, torch.Tensor] = {}

  def encode(self, texts: Sequence[str]) -> torch.Tensor:
    """Returns the embeddings of N texts, [N, L, D] float32, no gradient.

    Raises:
      ValueError: as `check_text`.
    """
    for text in texts:
      if text not in self._cache:
        # One by one, so that an embedding never depends on its neighbours.
        with torch.no_grad():
          self._cache[text] = self.encode_afresh([text])[0]
    return torch.stack([self._cache[text] for text in texts])

  def encode_afresh(self, texts: Sequence[str]) -> torch.Tensor:
    """As `encode`, but with gradient and without memory, for training."""
    for text in texts:
      check_text(self.tokenizer, text, self.prompt_length)
    ids = self.tokenizer(
      list(texts),
      padding='max_length',
      truncation=True,
      max_length=self.prompt_length,
      return_tensors='pt',
    )['input_ids'].to(self.text_encoder.device)
    return self.text_encoder(ids).last_hidden_state.float()

  def forget(self) -> None:
    """Empties the memory; to be called when the text encoder has changed."""
    self._cache.clear()
