"""A prior of one vocabulary goes on with the words of another.

Owns which token a new word becomes: one of those that `embedded` keeps room
for, so that all words that a prior knows stay where they are. What new words
mean has to be taught afterwards, see `reading`.
"""

from collections.abc import Sequence
import dataclasses

import transformers

from mmdist.priors import pipeline as pipelines
from mmdist.priors import prompt_encoder
from mmdist.priors.training import embedded


def with_words(
  pipeline: pipelines.Pipeline, words: Sequence[str], world: str
) -> pipelines.Pipeline:
  """Returns an embedded prior that goes on as one of another world.

  Args:
    pipeline: whose tokenizer is of `embedded.make_tokenizer`.
    words: the vocabulary of that world.
    world: its name.

  Raises:
    UserError: there is no room for so many words.
  """
  reader = pipeline.text.readers[0]
  tokenizer = _lengthened(reader.tokenizer, words)
  text = prompt_encoder.PromptEncoder(
    [dataclasses.replace(reader, tokenizer=tokenizer)]
  )
  settings = {**pipeline.settings, 'world': world}
  return dataclasses.replace(pipeline, text=text, settings=settings)


def _lengthened(
  tokenizer: transformers.PreTrainedTokenizerBase, words: Sequence[str]
) -> transformers.PreTrainedTokenizerFast:
  """Returns a tokenizer whose first tokens are those of another one."""
  known = tokenizer.get_vocab()
  in_order = sorted(known, key=known.__getitem__)
  return embedded.make_tokenizer(
    (*in_order, *words), tokenizer.model_max_length
  )
