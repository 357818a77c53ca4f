"""What can be said of a prior and its prompts before any network is built.

A misspelt word should be answered at once, not after minutes of loading. What
is known of a directory from an earlier look is not read again, and torch is
then not imported (`declared.py`); whatever is wrong is always found and told by
the code that reads the files.
"""

from collections.abc import Iterable, Sequence
import os
import pathlib
from typing import TYPE_CHECKING
import warnings

from mmdist.core import errors
from mmdist.core import lora_lists
from mmdist.priors import adapter_fit
from mmdist.priors import chat_templates
from mmdist.priors import declared as declared_lib
from mmdist.priors import directory as files
from mmdist.priors import locate
from mmdist.priors import lora_files

if TYPE_CHECKING:  # Not at run time, because it imports torch.
  import transformers


def check_prior(
  directory: str | os.PathLike,
  texts: Sequence[str],
  loras: str | lora_lists.Loras = (),
  prompt_chunks: int = 1,
) -> None:
  """Checks a diffusers directory's files, and the texts it will be asked.

  Args:
    directory: as `pipeline.open_pipeline` takes it.
    texts: every prompt, with and without view words.
    loras: LoRAs to be merged into it; a file, or a file and a factor each.
    prompt_chunks: pieces in which a text is read.

  Raises:
    FileNotFoundError, UserError: in one line, the file or the words that are
      wrong.
  """
  if os.path.isfile(directory):
    directory = locate.locate(os.fspath(directory))
  directory = pathlib.Path(directory)
  loras = lora_lists.normalise(loras)
  key = declared_lib.key(directory)
  declared = declared_lib.recall(key)
  # What is kept says nothing of a text in pieces.
  if declared is None or prompt_chunks > 1:
    _check_afresh(directory, texts, loras, prompt_chunks, key)
  else:
    _check_again(directory, texts, loras, declared)


def check_inversion(directory: str | os.PathLike) -> None:
  """Checks that renders can be led up by a directory's network.

  Raises:
    UserError: it predicts the image itself, which says nothing of the noise in
      a render without any.
  """
  path = pathlib.Path(directory) / 'scheduler' / 'scheduler_config.json'
  if not path.is_file():  # Told where the directory is read.
    return
  if files.read_json(path).get('prediction_type') == 'sample':
    raise errors.UserError(
      f'{path} has prediction_type sample, and DDIM inversion begins without '
      'noise, where such a network cannot say which; expected epsilon, '
      'v_prediction or a flow, or a kind of guidance with random noise.'
    )


def components_of(directory: pathlib.Path) -> tuple[str, ...]:
  """Returns the folders of a directory that hold weights.

  Raises:
    FileNotFoundError, UserError: as `families.read_family`.
  """
  declared = declared_lib.recall(declared_lib.key(directory))
  if declared is not None:
    return declared.components
  from mmdist.priors import families

  return families.read_family(directory).components


def _check_again(
  directory: pathlib.Path,
  texts: Sequence[str],
  loras: lora_lists.Loras,
  declared: declared_lib.Declared,
) -> None:
  _check_files(directory, declared.components, loras)
  for vocabulary in declared.vocabularies:
    if not vocabulary.has_all(texts):
      tokenizer = files.load_tokenizer(directory, vocabulary.tokenizer)
      _check_texts(
        tokenizer,
        dict.fromkeys(texts),
        vocabulary.length,
        1,
        vocabulary.template,
      )


def _check_afresh(
  directory: pathlib.Path,
  texts: Sequence[str],
  loras: lora_lists.Loras,
  prompt_chunks: int,
  key: str,
) -> None:
  # Here, because it imports torch.
  from mmdist.priors import families
  from mmdist.priors import family_texts

  family = families.read_family(directory)
  family_texts.check_chunks(family.directory, family.texts, prompt_chunks)
  _check_files(directory, family.components, loras)
  tokenizers, templates = [], []
  for folder in family.texts:
    tokenizer = files.load_tokenizer(directory, folder.tokenizer)
    template = chat_templates.template_of(
      folder.template, tokenizer, directory / folder.tokenizer
    )
    _check_texts(
      tokenizer, dict.fromkeys(texts), folder.length, prompt_chunks, template
    )
    tokenizers.append(tokenizer)
    templates.append(template)
  declared_lib.keep(key, family.components, family.texts, tokenizers, templates)


def _check_files(
  directory: pathlib.Path,
  components: Sequence[str],
  loras: lora_lists.Loras,
) -> None:
  adapters = lora_files.check_loras(loras)
  for component in components:
    files.check_weights(directory, component)
  adapter_fit.check_fit(directory, components, adapters)


def _check_texts(
  tokenizer: 'transformers.PreTrainedTokenizerBase',
  texts: Iterable[str],
  length: int,
  prompt_chunks: int,
  template: chat_templates.Template | None,
) -> None:
  """Checks texts; warns of the first one that is cut.

  Most of the others differ from it in their view words alone, and a warning for
  each of them would hide all else.
  """
  # Here, because it imports torch.
  from mmdist.priors import prompt_encoder

  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    for text in texts:
      prompt_encoder.check_text(
        tokenizer, text, length, prompt_chunks, template
      )
  for warning in caught[:1]:
    warnings.warn(warning.message, stacklevel=4)
