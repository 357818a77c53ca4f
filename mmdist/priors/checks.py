"""What can be said of a prior and its prompts before any network is built.

A misspelt word should be answered at once, not after minutes of loading.
"""

from collections.abc import Iterable, Sequence
import os
import pathlib
import warnings

import transformers

from mmdist.priors import adapters
from mmdist.priors import directory as files
from mmdist.priors import families
from mmdist.priors import prompt_encoder


def check_prior(
  directory: str | os.PathLike, texts: Sequence[str], lora: str = ''
) -> None:
  """Checks a diffusers directory's files, and the texts it will be asked.

  Args:
    directory: as `pipeline.open_pipeline` takes it.
    texts: every prompt, with and without view words.
    lora: a LoRA file to be merged into it; '' for none.

  Raises:
    FileNotFoundError, UserError: in one line, the file or the words that are
      wrong.
  """
  family = families.read_family(pathlib.Path(directory))
  if lora:
    adapters.check_lora(lora)
  for component in family.components:
    files.check_weights(family.directory, component)
  for folder in family.texts:
    tokenizer = files.load_tokenizer(family.directory, folder.tokenizer)
    _check_texts(tokenizer, dict.fromkeys(texts), folder.length)


def _check_texts(
  tokenizer: transformers.PreTrainedTokenizerBase,
  texts: Iterable[str],
  length: int,
) -> None:
  """Checks texts; warns of the first one that is cut.

  Most of the others differ from it in their view words alone, and a warning for
  each of them would hide all else.
  """
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    for text in texts:
      prompt_encoder.check_text(tokenizer, text, length)
  for warning in caught[:1]:
    warnings.warn(warning.message, stacklevel=3)
