"""What can be said of a prior and its prompts before any network is built.

A misspelt word should be answered at once, not after minutes of loading.
"""

from collections.abc import Iterable
import os
import pathlib

from mmdist.priors import directory as files
from mmdist.priors import prompts


def check_prior(directory: str | os.PathLike, texts: Iterable[str]) -> None:
  """Checks a diffusers directory's files, and the texts it will be asked.

  Args:
    directory: as `pipeline.open_pipeline` takes it.
    texts: every prompt, with and without view words.

  Raises:
    FileNotFoundError, ValueError: in one line, the file or the words that are
      wrong.
  """
  directory = pathlib.Path(directory)
  settings = files.read_settings(directory)
  files.read_json(directory / 'scheduler' / 'scheduler_config.json')
  for component in files.WEIGHTS:
    if component != 'vae' or (directory / 'vae').is_dir():
      files.read_json(directory / component / 'config.json')
      files.check_weights(directory, component)
  tokenizer = files.load_tokenizer(directory)
  config = files.read_json(directory / 'text_encoder' / 'config.json')
  length = files.prompt_length(settings, config['max_position_embeddings'])
  for text in dict.fromkeys(texts):
    prompts.check_text(tokenizer, text, length)
