"""The words of a tokenizer, looked up without transformers and torch."""

from collections.abc import Iterable
import dataclasses
import re
from typing import Any

import tokenizers

from mmdist.core import emphasis
from mmdist.core import errors
from mmdist.priors import chat_templates


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The vocabulary of one text encoder.

  Attributes:
    tokenizer: the folder of its tokenizer.
    length: tokens of a text, both ends included.
    content: what the `tokenizers` library writes of it.
    template: what is around a text; None if nothing is.
  """

  tokenizer: str
  length: int
  content: str
  template: chat_templates.Template | None = None

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
    try:
      return all(self._has(backend, emphasis.parse(text)) for text in texts)
    except errors.UserError:  # A mark is wrong.
      return False

  def _has(self, backend: Any, asked: emphasis.Emphasised) -> bool:
    text, most = tidy(backend, asked.text), self.length
    if self.template is not None:
      if not asked.is_plain:
        return False
      template = self.template.of(text)
      text, most = template.wrap(text), template.most_tokens(most)
    return (
      not asked.breaks
      and len(backend.encode(text).ids) <= most
      and not unknown_words(backend, text)
    )


def has_words_only(backend: Any) -> bool:
  """Returns whether a vocabulary is one of whole words, and so lacks some.

  Byte-pair ones such as CLIP's spell anything.

  Args:
    backend: a `tokenizers.Tokenizer`.
  """
  return type(backend.model).__name__ == 'WordLevel'


def tidy(backend: Any, text: str) -> str:
  """Returns a text as it is read; it keeps its length.

  Captions of the priors with vocabularies of words have no full stops, so the
  marks that end sentences are spaces to them.

  Args:
    backend: a `tokenizers.Tokenizer`.
    text: a prompt.
  """
  if not has_words_only(backend):
    return text
  return _SENTENCE_ENDS.sub(lambda match: ' ' * len(match[0]), text)


_SENTENCE_ENDS = re.compile(r'[.!?;:]+(?=[\s\'")]|$)')


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
