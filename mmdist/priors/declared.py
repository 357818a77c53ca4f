"""What a diffusers directory is, told without torch once it has been read.

Reading a directory as `families` does imports diffusers and torch, which takes
longer than all else that is checked of a run. So what was found is kept in the
user's cache, under a hash of every file that it was found in, of the versions
that read them and of this code. Only what passed every check is kept. The
weights themselves are looked at each time.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import platform
from typing import Any

from mmdist.core import source_hash
from mmdist.core import user_cache
from mmdist.priors import chat_templates
from mmdist.priors import vocabulary

_KIND = 'priors'  # Folder of the records.
# What reads a directory, or says what a class of it is.
_READERS = (
  'diffusers',
  'safetensors',
  'sentencepiece',
  'tokenizers',
  'torch',
  'transformers',
)
# A larger file is no setting and no vocabulary; it is told by its time.
_MOST_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Declared:
  """What the files of a directory declare.

  Attributes:
    components: the folders that hold weights.
    vocabularies: of its text encoders, in the order of their folders.
  """

  components: tuple[str, ...]
  vocabularies: tuple[vocabulary.Vocabulary, ...]


def key(directory: str | os.PathLike) -> str:
  """Returns a hash of all that decides what a directory is, but for weights.

  Of files of weights it has what their headers say: names, shapes, dtypes.
  """
  directory = pathlib.Path(directory).absolute()
  found = [
    (path.relative_to(directory).as_posix(), _digest(path))
    for path in sorted(directory.rglob('*'))
  ]
  versions = [_version(name) for name in _READERS]
  code = source_hash.name_code(), platform.python_version()
  return user_cache.key_of(str(directory), found, versions, code)


def _digest(path: pathlib.Path) -> str:
  try:
    if path.is_dir():
      return 'folder'
    with path.open('rb') as file:
      if path.suffix == '.safetensors':
        size = int.from_bytes(file.read(8), 'little')
        content = file.read(min(size, _MOST_BYTES))
      elif path.stat().st_size <= _MOST_BYTES:
        content = file.read()
      else:
        return str(path.stat().st_mtime_ns)
  except OSError as error:  # Said where it is read.
    return type(error).__name__
  return f'{path.stat().st_size} {hashlib.sha256(content).hexdigest()}'


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return 'absent'


def recall(key_of_files: str) -> Declared | None:
  """Returns what was kept of a directory with these files; None if nothing.

  Args:
    key_of_files: what `key` returned for it.
  """
  record = user_cache.read(_KIND, key_of_files)
  if record is None:
    return None
  try:
    return Declared(
      tuple(record['components']),
      tuple(map(_vocabulary_of, record['vocabularies'])),
    )
  except (KeyError, TypeError):  # Not as it was written.
    return None


def _vocabulary_of(record: Mapping[str, Any]) -> vocabulary.Vocabulary:
  template = record['template']
  if template is not None:
    template = chat_templates.Template(**template)
  return vocabulary.Vocabulary(**{**record, 'template': template})


def keep(
  key_of_files: str,
  components: Sequence[str],
  texts: Sequence[Any],
  tokenizers: Sequence[Any],
  templates: Sequence[chat_templates.Template | None],
) -> None:
  """Keeps what was found in a directory in which nothing is wrong.

  Args:
    key_of_files: what `key` returned for it before it was read.
    components: the folders that hold weights.
    texts: its `families.TextFolder`s.
    tokenizers: transformers' fast tokenizer of each of them.
    templates: what is around a text of each of them.
  """
  vocabularies = [
    vocabulary.Vocabulary(
      text.tokenizer,
      text.length,
      tokenizer.backend_tokenizer.to_str(),
      template,
    )
    for text, tokenizer, template in zip(
      texts, tokenizers, templates, strict=True
    )
  ]
  declared = Declared(tuple(components), tuple(vocabularies))
  user_cache.write(_KIND, key_of_files, dataclasses.asdict(declared))
