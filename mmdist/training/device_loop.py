"""The loop of a prior's training where one process drives a GPU.

Steps are `mmdist.priors.training.device_training`'s; what they see is drawn by
the processes of `mmdist.heads.prefetch`. The device is the pipeline's, so that
tests take the same way on a CPU.
"""

from collections.abc import Callable, Sequence
import pathlib
import time

import numpy as np

from mmdist.core import errors
from mmdist.heads import prefetch
from mmdist.priors import pipeline as pipelines
from mmdist.priors import vocabulary
from mmdist.priors.training import device_training
from mmdist.priors.training import from_scratch
from mmdist.training import prior_clock

REPORT_EVERY = 50  # Steps; to report means to wait for the GPU.


def run(
  pipeline: pipelines.Pipeline,
  state: from_scratch.TrainingState,
  training: from_scratch.Training,
  source: prefetch.Source,
  clock: prior_clock.Clock,
  save: Callable[[], None],
  look: Callable[[], None],
  report: Callable[[str], None],
  num_processes: int = 0,
) -> None:
  """Trains until the images are seen or time is up.

  Args:
    pipeline: as `device_training.place` returns it.
    state: changed in place.
    training: how.
    source: what it sees.
    clock: says when it stops, and when `save` and `look` are called.
    save: writes a checkpoint.
    look: reports on held-out pictures.
    report: is told how it goes.
    num_processes: that draw; see `prefetch.Prefetcher`.

  Raises:
    UserError: pictures of several sizes; a process that draws has ended.
    NotFinite: a gradient is not finite; the checkpoint is sound.
  """
  if state.num_seen >= training.num_images:
    return
  with prefetch.Prefetcher(source, state.step, num_processes) as batches:
    pictures = device_training.upload(
      prefetch.read_pixels(source), pipeline.device
    )
    report(f'{len(pictures)} pictures are on {pipeline.device}')
    steps = device_training.Steps(
      pipeline,
      state,
      training,
      pictures,
      source.families,
      source.words.encode([''])[0],
      report,
    )
    since, seen = time.time(), state.num_seen
    while state.num_seen < training.num_images and not clock.is_over():
      batch = batches.take()
      steps.step(batch.rows, batch.greys, batch.tokens)
      if state.step % REPORT_EVERY == 0:
        loss = steps.check()
        now = time.time()
        report(
          f'step {state.step} seen {state.num_seen} loss {loss:.4f} '
          f'{(state.num_seen - seen) / (now - since):.1f} images/s'
        )
        since, seen = now, state.num_seen
      if clock.saves_now():
        steps.check()  # Weights that are not sound are never saved.
        save()
      if clock.looks_now():
        steps.check()
        look()
    steps.check()


def open_source(
  folder: pathlib.Path,
  channel: str,
  batch_size: int,
  seed: int,
  pipeline: pipelines.Pipeline,
  examples: Sequence[str],
) -> prefetch.Source:
  """Returns what a prior is trained on, in words that it knows.

  Args:
    folder, channel, batch_size, seed: see `prefetch.Source`.
    pipeline: of the prior.
    examples: texts that are read both ways, to be sure that it is one.

  Raises:
    FileNotFoundError: there is no shard.
    UserError: the prior's tokenizer does more than look up words.
  """
  words = word_ids(pipeline, examples)
  return prefetch.open_source(folder, channel, batch_size, seed, words)


def word_ids(
  pipeline: pipelines.Pipeline, examples: Sequence[str]
) -> prefetch.WordIds:
  """Returns what a prior's tokenizer does, for processes without it.

  Raises:
    UserError: it does more than look up words.
  """
  reader = pipeline.text.readers[0]
  tokenizer = reader.tokenizer
  if vocabulary.has_words_only(tokenizer.backend_tokenizer):
    words = prefetch.WordIds(
      tokenizer.get_vocab(),
      tokenizer.bos_token_id,
      tokenizer.eos_token_id,
      tokenizer.pad_token_id,
      reader.length,
    )
    expected = tokenizer(
      list(examples),
      padding='max_length',
      truncation=True,
      max_length=reader.length,
    )['input_ids']
    if np.array_equal(words.encode(examples), expected):
      return words
  raise errors.UserError(
    'device cuda trains priors that read word by word, and the one of --init '
    'has another tokenizer; train it with --device=cpu, or start from an '
    'embedded one.'
  )
