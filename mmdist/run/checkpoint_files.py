"""Reads the files of one checkpoint, and tells damage from other errors.

Only what reads files stands inside a `try` here, and only what damaged files
make it raise is caught. Orbax trusts its note on the arrays: where that note
is JSON of another shape, Orbax fails with the same TypeError or AttributeError
that a mistake in a program raises. So the note is checked before Orbax sees it,
and these two errors are never taken for damage.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

# What Orbax, its array store and JSON raise where files are missing, cut short
# or changed. Brackets nested too deeply are a RecursionError, which is a
# RuntimeError.
DAMAGE = (OSError, ValueError, KeyError, RuntimeError, MemoryError, EOFError)

# The operating system refused to open a file, whatever is in it. A checkpoint
# must not be moved aside for that.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)


class Damaged(Exception):
  """A file of a checkpoint is missing, or is not what was written."""


class Seal(NamedTuple):
  """The stored hash by which a checkpoint is checked, and its schema.

  Attributes:
    schema: of the checkpoint's contents.
    sha256: what `snapshots` computes over them.
  """

  schema: int
  sha256: str


def processes() -> ocp.options.MultiprocessingOptions:
  """Returns Orbax's option by which this process alone writes and reads.

  A learner of several hosts has whole arrays on each, and host 0 has the run's
  folder. So a checkpoint is the same files whatever the number of hosts, needs
  no disk that they share, and can be written after the loss of one.
  """
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  me = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=me,
    active_processes={me},
    barrier_sync_key_prefix=f'mmdist_{me}',
  )


class CheckpointReader:
  """Reads checkpoints, each from its folder, and changes nothing."""

  def __init__(self) -> None:
    options = processes()
    self._orbax = ocp.Checkpointer(
      ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=options)
      ),
      multiprocessing_options=options,
    )

  def close(self) -> None:
    self._orbax.close()

  def read_seal(self, folder: pathlib.Path) -> Seal:
    """Reads the seal, as any version of mmdist has written it.

    Raises:
      Damaged: it is not there, or its bytes are not what was written.
      OSError: reading it is not allowed, or too many files are open.
    """
    if (folder / 'seal').exists():
      args = ocp.args.Composite(seal=ocp.args.JsonRestore())
      with _reading():
        seal = self._orbax.restore(folder, args=args).seal
    else:  # Schema 1 kept it in Orbax's own notes.
      notes = _read_json(folder / '_CHECKPOINT_METADATA')
      kept = _get(notes, 'custom_metadata', Mapping)
      seal = {'schema': 1, 'sha256': _get(kept, 'sha256', str)}
    return Seal(_get(seal, 'schema', int), _get(seal, 'sha256', str))

  def read_contents(
    self, folder: pathlib.Path
  ) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Reads the arrays, by name, and the identity of the run.

    Whether the files still hold what was written is checked with the seal.

    Raises:
      Damaged: a file's bytes are not what was written.
      OSError: reading it is not allowed, or too many files are open.
    """
    _check_note(_read_json(folder / 'arrays' / '_METADATA'))
    args = ocp.args.Composite(
      arrays=ocp.args.StandardRestore(), identity=ocp.args.JsonRestore()
    )
    with _reading():
      restored = self._orbax.restore(folder, args=args)
    _check_type('the arrays', restored.arrays, Mapping)
    _check_type('the identity', restored.identity, Mapping)
    return dict(restored.arrays), restored.identity


@contextlib.contextmanager
def _reading() -> Iterator[None]:
  """Turns what damaged files make their reader raise into `Damaged`."""
  try:
    yield
  except DAMAGE as error:
    if isinstance(error, OSError) and error.errno in _REFUSED:
      raise
    lines = str(error).strip().splitlines()
    raise Damaged(lines[0] if lines else type(error).__name__) from error


def _read_json(path: pathlib.Path) -> Any:
  with _reading():
    return json.loads(path.read_text('utf-8'))


def _check_note(note: Any) -> None:
  """Checks the shape of Orbax's note on the arrays, as far as it trusts it."""
  for entry in _get(note, 'tree_metadata', Mapping).values():
    for key in _get(entry, 'key_metadata', list):
      _check_type('a key', key, Mapping)
    value = _get(entry, 'value_metadata', Mapping)
    _get(value, 'value_type', str)


def _get(record: Any, name: str, kind: type) -> Any:
  """Returns a field of what should be a record, if it is of a kind."""
  _check_type(f'what should hold {name}', record, Mapping)
  if name not in record:
    raise Damaged(f'{name} is missing')
  _check_type(name, record[name], kind)
  return record[name]


def _check_type(what: str, value: Any, kind: type) -> None:
  if not isinstance(value, kind):
    raise Damaged(f'{what} is {str(value)[:60]!r}')
