"""The words of a tokenizer, looked up without transformers and torch."""

from collections.abc import Iterable
import dataclasses
from typing import Any

import tokenizers


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The vocabulary of one text encoder.

  Attributes:
    tokenizer: the folder of its tokenizer.
    length: tokens of a text, both ends included.
    content: what the `tokenizers` library writes of it.
  """

  tokenizer: str
  length: int
  content: str

  def has_all(self, texts: Iterable[str]) -> bool:
    """Returns whether texts are as they should be: all known, none too long.

    What is wrong with one of them is `prompt_encoder.check_text`'s to say.
    """
    try:
      backend = tokenizers.Tokenizer.from_str(self.content)
    except Exception:  # noqa: BLE001 - the library raises nothing narrower.
      return False
    backend.no_truncation()
    backend.no_padding()
    return all(
      len(backend.encode(text).ids) <= self.length
      and not unknown_words(backend, text)
      for text in texts
    )


def has_words_only(backend: Any) -> bool:
  """Returns whether a vocabulary is one of whole words, and so lacks some.

  Byte-pair ones such as CLIP's spell anything.

  Args:
    backend: a `tokenizers.Tokenizer`.
  """
  return type(backend.model).__name__ == 'WordLevel'


def unknown_words(backend: Any, text: str) -> list[str]:
  """Returns the words of a text that a vocabulary lacks, in their order.

  Args:
    backend: a `tokenizers.Tokenizer`.
    text: a prompt.
  """
  if not has_words_only(backend):
    return []
  known = backend.get_vocab(with_added_tokens=True)
  return [word for word in _words(backend, text) if word not in known]


def _words(backend: Any, text: str) -> list[str]:
  if backend.normalizer is not None:
    text = backend.normalizer.normalize_str(text)
  if backend.pre_tokenizer is None:
    return text.split()
  return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
