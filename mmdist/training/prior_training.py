"""From shards of heads to a small prior, in one-thread processes.

Steps and checkpoints are `mmdist.priors.training.from_scratch`'s. That module
is imported inside functions, since it imports torch, and a process has to say
how many threads torch may use before that.
"""

from collections.abc import Callable
import dataclasses
import multiprocessing
from multiprocessing import connection
import os
import pathlib
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from mmdist.core import asset_paths
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.run import locks
from mmdist.training import prior_clock
from mmdist.training import prior_options
from mmdist.training import prior_sheet

if TYPE_CHECKING:
  from mmdist.heads import batches as head_batches
  from mmdist.heads import worlds
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import from_scratch


Options = prior_options.Options

_READING_RATE = 1e-3
# The network has learned from what the encoder makes of the words that it knew.
_NEW_WORDS_RATE = 3e-4


def worker(
  rank: int,
  options: Options,
  rendezvous: str,
  report: Callable[[str], None],
) -> None:
  """Trains on one rank until the images are seen or time is up.

  Args:
    rank: of this process, from 0; only 0 reports and saves.
    options: see `prior_options.Options`.
    rendezvous: path of a new file, by which the ranks find each other.
    report: is told how it goes.

  Raises:
    UserError: the checkpoint is damaged, or of another architecture.
    NotFinite: a loss or a gradient is not finite; the checkpoint is sound.
  """
  os.environ['OMP_NUM_THREADS'] = '1'
  from mmdist.priors.training import from_scratch

  from_scratch.join(rank, options.num_processes, pathlib.Path(rendezvous))
  training = from_scratch.Training(
    num_images=options.num_images,
    learning_rate=options.learning_rate,
    optimizer=options.optimizer,
    seed=options.seed,
  )
  say = report if rank == 0 else _say_nothing
  pipeline = _open(options, training)
  train = _train_on_device if options.device == 'cuda' else _train_on_cpu
  train(rank, options, pipeline, training, say)


def _open(
  options: Options, training: 'from_scratch.Training'
) -> 'pipelines.Pipeline':
  """Returns the prior to train, with its text encoder frozen."""
  from mmdist.heads import shards as head_shards
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import embedded
  from mmdist.priors.training import new_words

  world = head_shards.world_of(pathlib.Path(options.data))
  if options.init:
    pipeline = pipelines.open_pipeline(
      asset_paths.resolve(options.init),
      training.dtype,
      options.device,
      train=True,
    )
    if _is_of_another_world(options, world):
      words = world.captions.vocabulary()
      pipeline = new_words.with_words(pipeline, words, world.name)
  else:
    # Its defaults where nothing else is asked for, so that these stand once.
    changes: dict[str, Any] = {}
    if prior_options.architecture(options) != prior_options.architecture(
      Options('', '')
    ):
      changes['architecture'] = embedded.Architecture(
        **prior_options.architecture(options)
      )
    pipeline = embedded.make_pipeline(
      world.captions.vocabulary(),
      seed=training.seed,
      device=options.device,
      world=world.name,
      **changes,
    )
  pipeline.denoiser.requires_grad_(True).train()
  pipeline.text.modules[0].requires_grad_(False).eval()
  return pipeline


def _begin(
  options: Options,
  pipeline: 'pipelines.Pipeline',
  training: 'from_scratch.Training',
  report: Callable[[str], None],
) -> 'from_scratch.TrainingState':
  """Goes on from the checkpoint, or teaches the text encoder to read."""
  from mmdist.heads import shards as head_shards
  from mmdist.priors.training import from_scratch
  from mmdist.priors.training import reading

  checkpoint = _checkpoint(options)
  if checkpoint.exists():
    return from_scratch.load_checkpoint(checkpoint, pipeline, training, report)
  world = head_shards.world_of(pathlib.Path(options.data))
  if not options.init or _is_of_another_world(options, world):
    rate = _NEW_WORDS_RATE if options.init else _READING_RATE
    # Every rank trains the text encoder itself; with the same seed all get
    # the same weights.
    lesson = reading.Lesson(
      options.reading_steps, learning_rate=rate, seed=training.seed
    )
    share = reading.teach(
      pipeline.text, world.captions.questions(), world.captions.draw, lesson
    )
    report(f'text encoder: {share:.1%} of what is said is read')
  return from_scratch.init_state(pipeline, training)


def _is_of_another_world(options: Options, world: 'worlds.World') -> bool:
  """Returns whether `init` lacks words; Stable Diffusion is of no world."""
  from mmdist.heads import worlds

  known = worlds.name_in_directory(asset_paths.resolve(options.init))
  return known not in (world.name, None)


def _checkpoint(options: Options) -> pathlib.Path:
  return pathlib.Path(options.out) / 'training.safetensors'


def _train_on_cpu(
  rank: int,
  options: Options,
  pipeline: 'pipelines.Pipeline',
  training: 'from_scratch.Training',
  report: Callable[[str], None],
) -> None:
  """Trains as one of several ranks."""
  from mmdist.heads import batches as head_batches
  from mmdist.heads import sentences

  batches = head_batches.HeadBatches(
    pathlib.Path(options.data),
    options.channel,
    options.batch_size,
    training.seed,
    rank,
    options.num_processes,
    sentences.NORMAL_PREFIX if options.channel == 'normal' else None,
  )
  state = _begin(options, pipeline, training, report)
  _loop(rank, options, pipeline, state, training, batches, report)


def _train_on_device(
  rank: int,
  options: Options,
  pipeline: 'pipelines.Pipeline',
  training: 'from_scratch.Training',
  report: Callable[[str], None],
) -> None:
  """Trains on the pipeline's device, in this process."""
  from mmdist.heads import shards as head_shards
  from mmdist.priors.training import device_training
  from mmdist.training import device_loop

  del rank  # There is one.
  pipeline = device_training.place(pipeline)
  source = device_loop.open_source(
    pathlib.Path(options.data),
    options.channel,
    options.batch_size,
    training.seed,
    pipeline,
    prior_sheet.prompts(
      head_shards.world_of(pathlib.Path(options.data)), options.channel
    ),
  )
  look = _looker(options, pipeline, report)
  state = _begin(options, pipeline, training, report)
  device_loop.run(
    pipeline,
    state,
    training,
    source,
    _clock(options, training),
    lambda: _save(options, pipeline, state),
    lambda: look(state),
    report,
  )
  _save(options, pipeline, state, sheet=True)
  look(state)


def _clock(
  options: Options, training: 'from_scratch.Training'
) -> prior_clock.Clock:
  return prior_clock.Clock(
    options.max_minutes,
    training.save_every_s,
    options.held_out_minutes if options.held_out else 0,
  )


def _looker(
  options: Options,
  pipeline: 'pipelines.Pipeline',
  report: Callable[[str], None],
) -> Callable[['from_scratch.TrainingState'], None]:
  """Returns what reports how well the averaged weights denoise `held_out`."""
  if not options.held_out:
    return lambda state: None
  from mmdist.priors.training import from_scratch
  from mmdist.training import held_out

  pictures = held_out.read(pathlib.Path(options.held_out), options.channel)

  def look(state: 'from_scratch.TrainingState') -> None:
    undo = from_scratch.averaged(pipeline, state)
    for line in pictures.lines(pipeline):
      report(f'step {state.step} {line}')
    undo()

  return look


def _loop(
  rank: int,
  options: Options,
  pipeline: 'pipelines.Pipeline',
  state: 'from_scratch.TrainingState',
  training: 'from_scratch.Training',
  batches: 'head_batches.HeadBatches',
  report: Callable[[str], None],
) -> None:
  from mmdist.priors.training import from_scratch

  num_ranks, started = options.num_processes, time.time()
  look = _looker(options, pipeline, report)
  clock = _clock(options, training)
  first = state.num_seen
  losses: list[float] = []
  while state.num_seen < training.num_images:
    batch = batches.batch(state.step)
    losses.append(
      from_scratch.train_step(pipeline, state, training, batch, rank, num_ranks)
    )
    if state.step % 50 == 0:
      speed = (state.num_seen - first) / (time.time() - started)
      report(
        f'step {state.step} seen {state.num_seen} '
        f'loss {from_scratch.loss_history(losses):.4f} {speed:.1f} images/s'
      )
      if from_scratch.agree_to_stop(clock.is_over(), num_ranks):
        break
    if rank == 0 and clock.saves_now():
      _save(options, pipeline, state)
    if rank == 0 and clock.looks_now():
      look(state)
  if rank == 0:
    _save(options, pipeline, state, sheet=True)
    look(state)


def _save(
  options: Options,
  pipeline: 'pipelines.Pipeline',
  state: 'from_scratch.TrainingState',
  sheet: bool = False,
) -> None:
  """Writes the checkpoint and the averaged weights as a prior."""
  from mmdist.heads import shards as head_shards
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import from_scratch

  checkpoint = _checkpoint(options)
  checkpoint.parent.mkdir(parents=True, exist_ok=True)
  from_scratch.save_checkpoint(checkpoint, pipeline, state)
  undo = from_scratch.averaged(pipeline, state)
  pipelines.save_pipeline(pipeline, checkpoint.parent)
  if sheet:
    prior_sheet.write(
      pipeline,
      head_shards.world_of(pathlib.Path(options.data)),
      options.channel,
      checkpoint.parent / 'samples.png',
    )
  undo()
  record = {'num_seen': state.num_seen, 'step': state.step}
  record |= dataclasses.asdict(options)
  path = checkpoint.parent / 'training.json'
  atomic.write_text(path, strict_json.dumps(record, indent=2) + '\n')


def _say_nothing(line: str) -> None:
  """Does nothing; a lambda could not be pickled for another process."""


def train_in_processes(
  options: Options, report: Callable[[str], None] = _say_nothing
) -> None:
  """Trains in as many processes as asked, or in this one.

  Args:
    options: see `prior_options.Options`.
    report: is told how it goes, in a process that may be another one: with
      several processes it has to be a function that pickles.

  Raises:
    FileNotFoundError, UserError: in one line; also where one of several
      processes failed.
    locks.InUse: another process works in `out`.
    PermissionError: nothing can be written there, for whatever reason.
    NotFinite: as `worker`, where it is the only process.
  """
  options = prior_options.checked(options)
  # Held here, for all the processes.
  with locks.locked(options.out, '--out'):
    _train_in_processes(options, report)


def end_with_parent() -> None:
  """Ends this process as soon as the one that started it is gone.

  That one holds the lock of the folder, and whoever gives the same command next
  must find nobody at work in it.
  """
  parent = multiprocessing.parent_process()
  if parent is None:
    raise RuntimeError('this process was not started by multiprocessing')

  def watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)

  threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _rank(
  rank: int,
  options: Options,
  rendezvous: str,
  report: Callable[[str], None],
) -> None:
  end_with_parent()
  worker(rank, options, rendezvous, report)


def _train_in_processes(
  options: Options, report: Callable[[str], None]
) -> None:
  with tempfile.TemporaryDirectory() as folder:
    rendezvous = f'{folder}/rendezvous'
    if options.num_processes == 1:
      worker(0, options, rendezvous, report)
      return
    context = multiprocessing.get_context('spawn')
    ranks = [
      context.Process(target=_rank, args=(rank, options, rendezvous, report))
      for rank in range(options.num_processes)
    ]
    for process in ranks:
      process.start()
    for process in ranks:
      process.join()
  failed = [process.exitcode for process in ranks if process.exitcode]
  if failed:
    raise errors.UserError(
      f'a training process ended with code {failed[0]}; its message is above. '
      'The same command goes on from the last checkpoint.'
    )
