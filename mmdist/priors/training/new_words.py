"""A prior of one vocabulary goes on with the words of another.

Owns which token a new word becomes: one of those that `embedded` keeps room
for, so that all words that a prior knows stay where they are. What new words
mean has to be taught afterwards, see `reading`.
"""

from collections.abc import Sequence
import dataclasses

import transformers

from mmdist.heads import worlds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prompt_encoder
from mmdist.priors.training import embedded


def for_world(
  pipeline: pipelines.Pipeline, world: worlds.World
) -> pipelines.Pipeline:
  """Returns the prior as one of a world, with all of its words.

  Args:
    pipeline: any; one that is of this world already, or of none, as Stable
      Diffusion is, is returned as it is.
    world: whose words it is to know.

  Raises:
    UserError: its vocabulary has no room for so many words.
  """
  if worlds.name_in(pipeline.settings) in (world.name, None):
    return pipeline
  reader = pipeline.text.readers[0]
  tokenizer = _with_words(reader.tokenizer, world.captions.vocabulary())
  text = prompt_encoder.PromptEncoder(
    [dataclasses.replace(reader, tokenizer=tokenizer)]
  )
  settings = {**pipeline.settings, worlds.KEY: world.name}
  return dataclasses.replace(pipeline, text=text, settings=settings)


def _with_words(
  tokenizer: transformers.PreTrainedTokenizerBase, words: Sequence[str]
) -> transformers.PreTrainedTokenizerFast:
  """Returns a tokenizer whose first tokens are those of another one."""
  known = tokenizer.get_vocab()
  in_order = sorted(known, key=known.__getitem__)
  return embedded.make_tokenizer(
    (*in_order, *words), tokenizer.model_max_length
  )
