"""Draws of a prior's training, made ahead by processes of their own.

A GPU asks for tens of thousands of pictures a second, and one process draws
about thirty thousand. So several draw, each every n-th step, and send only
numbers: which pictures, the greys behind them, and the tokens of the captions.
They import numpy and nothing that could touch a GPU. Step s is drawn from
(seed, s) whoever draws it, so the order does not depend on their number.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import multiprocessing
from multiprocessing import connection
import pathlib
import signal
from typing import Any

import numpy as np

from mmdist.core import cores
from mmdist.core import errors
from mmdist.heads import drawing
from mmdist.heads import sentences
from mmdist.heads import shards as head_shards

NORMAL = 'normal'
_MOST_PROCESSES = 12
_CORES_FOR_OTHERS = 4  # For the process that drives the GPU, and the system.


@dataclasses.dataclass(frozen=True)
class WordIds:
  """What a word-level tokenizer does, as one look into a dictionary per word.

  Attributes:
    ids: word -> number.
    begin, end, pad: numbers of the tokens around a text and behind it.
    length: L, tokens of a text, both ends included.
  """

  ids: Mapping[str, int]
  begin: int
  end: int
  pad: int
  length: int

  def encode(self, texts: Sequence[str]) -> np.ndarray:
    """Returns the [B, L] int32 tokens of texts.

    Raises:
      UserError: a word that the vocabulary lacks, or more words than fit.
    """
    rows = np.full((len(texts), self.length), self.pad, np.int32)
    for row, text in zip(rows, texts, strict=True):
      words = text.lower().replace(',', ' , ').split()
      if len(words) > self.length - 2:
        raise errors.UserError(
          f'caption {text!r} has {len(words)} words, and the prior takes '
          f'{self.length - 2}; train one with longer prompts.'
        )
      try:
        numbers = [self.ids[word] for word in words]
      except KeyError as error:
        raise errors.UserError(
          f'caption {text!r} has the word {error}, which the prior does not '
          'know; start from one that was trained on these captions.'
        ) from error
      row[0], row[len(words) + 1] = self.begin, self.end
      row[1 : len(words) + 1] = numbers
    return rows


@dataclasses.dataclass(frozen=True)
class Source:
  """What is drawn from, as a value that goes to another process.

  Attributes:
    shards, siblings: paths of the shards; see `drawing.Drawer`.
    channel, batch_size, seed: see `drawing.Drawer`.
    words: of the prior that is trained.
  """

  shards: tuple[pathlib.Path, ...]
  siblings: tuple[pathlib.Path, ...]
  channel: str
  batch_size: int
  seed: int
  words: WordIds

  @property
  def paths(self) -> tuple[pathlib.Path, ...]:
    """All shards, in the order that rows are counted in."""
    return self.shards + self.siblings

  @functools.cached_property
  def families(self) -> np.ndarray:
    """[B] numbers of families, the same at every step."""
    return drawing.family_numbers(self.batch_size, bool(self.siblings))


@dataclasses.dataclass(frozen=True)
class Batch:
  """The numbers of one step.

  Attributes:
    rows: [B] int64, pictures counted through all shards of `Source.paths`.
    greys: [B] float32, see `drawing.Draws`.
    tokens: [B, L] int32.
  """

  rows: np.ndarray
  greys: np.ndarray
  tokens: np.ndarray


def open_source(
  folder: pathlib.Path,
  channel: str,
  batch_size: int,
  seed: int,
  words: WordIds,
) -> Source:
  """Returns the source of all shards that are in a folder now.

  Raises:
    FileNotFoundError: there is none.
    UserError: they are of several worlds.
  """
  head_shards.world_of(folder)
  return Source(
    tuple(head_shards.list_shards(folder)),
    tuple(head_shards.list_siblings(folder)),
    channel,
    batch_size,
    seed,
    words,
  )


class _Reader:
  """Draws any step of a source, in this process."""

  def __init__(self, source: Source):
    shards, siblings = (
      [head_shards.read_labels(path) for path in paths]
      for paths in (source.shards, source.siblings)
    )
    counts = [len(labels) for labels in (*shards, *siblings)]
    self._offsets = np.cumsum([0, *counts])[:-1]
    self._words = source.words
    self._drawer = drawing.Drawer(
      shards,
      siblings,
      source.channel,
      source.batch_size,
      source.seed,
      prefix=sentences.NORMAL_PREFIX if source.channel == NORMAL else None,
    )

  def read(self, step: int) -> Batch:
    drawn = self._drawer.draw(step)
    return Batch(
      (self._offsets[drawn.shards] + drawn.indices).astype(np.int64),
      drawn.greys,
      self._words.encode(drawn.texts),
    )


def default_num_processes() -> int:
  """Returns how many processes draw on this machine, at least one."""
  num_cores = cores.count()
  return max(1, min(_MOST_PROCESSES, num_cores - _CORES_FOR_OTHERS))


class Prefetcher:
  """Gives the batches of step after step, drawn ahead.

  To be closed, or used in a `with` block. Each process stays about two batches
  ahead: it waits until the one that it has sent is taken.
  """

  def __init__(self, source: Source, first_step: int, num_processes: int = 0):
    """Starts the processes.

    Args:
      source: what is drawn from.
      first_step: whose batch `take` returns first.
      num_processes: how many; 0: as many as suit this machine.
    """
    self._step = first_step
    count = num_processes or default_num_processes()
    context = multiprocessing.get_context('spawn')
    self._pipes: list[connection.Connection] = []
    self._processes: list[Any] = []
    for number in range(count):
      receiver, sender = context.Pipe(duplex=False)
      process = context.Process(
        target=_serve,
        args=(sender, source, first_step + number, count),
        daemon=True,
      )
      process.start()
      sender.close()  # So that the pipe ends when that process does.
      self._pipes.append(receiver)
      self._processes.append(process)
    self._first_step = first_step

  def take(self) -> Batch:
    """Returns the next step's batch, as soon as it is there.

    Raises:
      UserError: the process that draws it has ended.
    """
    turn = (self._step - self._first_step) % len(self._pipes)
    try:
      batch: Batch = self._pipes[turn].recv()
    except EOFError as error:
      raise errors.UserError(
        'a process that draws the pictures of a training has ended; its '
        'message is above. The same command goes on from the last checkpoint.'
      ) from error
    self._step += 1
    return batch

  def close(self) -> None:
    """Ends the processes."""
    for pipe in self._pipes:
      pipe.close()
    for process in self._processes:
      process.terminate()
      process.join()

  def __enter__(self) -> 'Prefetcher':
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _serve(
  sender: connection.Connection, source: Source, first: int, stride: int
) -> None:
  """Sends the batches of every `stride`-th step until nobody takes them."""
  # Ctrl-C reaches all processes of a terminal; the one that trains ends these.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  reader, step = _Reader(source), first
  while True:
    batch = reader.read(step)
    try:
      sender.send(batch)
    except (BrokenPipeError, ConnectionError):
      return
    step += stride


def read_pixels(source: Source) -> list[np.ndarray]:
  """Reads the pixels of all shards, of the channel that is trained.

  Returns:
    Arrays [N, H, W, C] uint8 in the order of `Source.paths`; see
    `shards.read_pixels`.

  Raises:
    UserError: pictures of several sizes.
  """
  pixels = [
    head_shards.read_pixels(path, source.channel) for path in source.paths
  ]
  sizes = {array.shape[1:3] for array in pixels}
  if len(sizes) > 1:
    raise errors.UserError(
      f'the shards have pictures of several sizes, {sorted(sizes)}; expected '
      'one, so keep each size in a folder of its own.'
    )
  return pixels
