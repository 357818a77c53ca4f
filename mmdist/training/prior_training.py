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
from typing import TYPE_CHECKING

from mmdist.core import asset_paths
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import options as options_lib
from mmdist.core import strict_json
from mmdist.run import locks

if TYPE_CHECKING:
  from mmdist.heads import batches as head_batches
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import from_scratch

SHEET_PROMPTS = (
  'a portrait of a happy man, front view',
  'a portrait of a man with green skin and a red hat, front view',
  'a portrait of a woman with blue skin and a yellow crown, front view',
  'a portrait of a joker, front view',
  'a portrait of a sad old man with a long beard, front view',
  'a portrait of a devil, side view',
  'a portrait of a woman with long blond hair and sunglasses, front view',
  'a portrait of a surprised man with horns and purple skin, front view',
  'a portrait of a happy woman, mouth view',
  'a portrait of a sad man with tan skin, mouth view',
  'a portrait of a surprised old woman, eyes view',
  'a portrait of a man with an open mouth and a beard, mouth view',
  'a portrait of a woman with a pink afro, back view',
  'a portrait of a child with a blue cap, overhead view',
  'a portrait of a man with green headphones, side view',
  'a portrait of a wizard, front view',
)


@dataclasses.dataclass(frozen=True)
class Options:
  """What a prior learns from, how, and where it goes."""

  data: str = options_lib.option(
    options_lib.REQUIRED, 'Folder of head shards.', is_path=True
  )
  out: str = options_lib.option(
    options_lib.REQUIRED, 'Diffusers directory.', is_path=True
  )
  channel: str = options_lib.option(
    'rgb', 'Which pictures.', choices=messages.CHANNELS
  )
  init: str = options_lib.option(
    '', 'Prior to start from: directory or name.', is_path=True
  )
  num_images: int = options_lib.option(
    750_000, 'Pictures to see in all.', minimum=1
  )
  batch_size: int = options_lib.option(
    16, 'Pictures per step and process.', minimum=1
  )
  num_processes: int = options_lib.option(2, 'One-thread processes.', minimum=1)
  learning_rate: float = options_lib.option(5e-4, 'Peak of AdamW.', minimum=0.0)
  reading_steps: int = options_lib.option(
    1500, 'Steps of the text encoder, before any picture.', minimum=0
  )
  seed: int = options_lib.option(0, 'Decides weights, noise and captions.')
  max_minutes: float = options_lib.option(
    0.0,
    'Stop after so many minutes; the same command goes on. 0: never.',
    minimum=0.0,
  )


def worker(
  rank: int,
  options: Options,
  rendezvous: str,
  report: Callable[[str], None],
) -> None:
  """Trains on one rank until the images are seen or time is up.

  Args:
    rank: of this process, from 0; only 0 reports and saves.
    options: see `Options`.
    rendezvous: path of a new file, by which the ranks find each other.
    report: is told how it goes.

  Raises:
    UserError: the checkpoint is damaged, or of another architecture.
    NotFinite: a loss or a gradient is not finite; the checkpoint is sound.
  """
  os.environ['OMP_NUM_THREADS'] = '1'
  from mmdist.heads import batches as head_batches
  from mmdist.heads import captions
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import embedded
  from mmdist.priors.training import from_scratch
  from mmdist.priors.training import reading

  num_ranks = options.num_processes
  from_scratch.join(rank, num_ranks, pathlib.Path(rendezvous))
  training = from_scratch.Training(
    num_images=options.num_images,
    learning_rate=options.learning_rate,
    seed=options.seed,
  )
  out = pathlib.Path(options.out)
  if options.init:
    pipeline = pipelines.open_pipeline(
      asset_paths.resolve(options.init), training.dtype, 'cpu', train=True
    )
  else:
    pipeline = embedded.make_pipeline(captions.vocabulary(), seed=training.seed)
  pipeline.denoiser.requires_grad_(True).train()
  pipeline.text.modules[0].requires_grad_(False).eval()
  normal = options.channel == 'normal'
  batches = head_batches.HeadBatches(
    pathlib.Path(options.data),
    options.channel,
    options.batch_size,
    training.seed,
    rank,
    num_ranks,
    captions.NORMAL_PREFIX if normal else None,
  )
  checkpoint = out / 'training.safetensors'
  if checkpoint.exists():
    state = from_scratch.load_checkpoint(
      checkpoint, pipeline, training, report if rank == 0 else _say_nothing
    )
  else:
    if not options.init:
      # Every rank trains the text encoder itself; with the same seed all get
      # the same weights.
      lesson = reading.Lesson(options.reading_steps, seed=training.seed)
      share = reading.teach(
        pipeline.text, captions.questions(), captions.draw, lesson
      )
      if rank == 0:
        report(f'text encoder: {share:.1%} of what is said is read')
    state = from_scratch.init_state(pipeline, training)
  _loop(rank, options, pipeline, state, training, batches, checkpoint, report)


def _loop(
  rank: int,
  options: Options,
  pipeline: 'pipelines.Pipeline',
  state: 'from_scratch.TrainingState',
  training: 'from_scratch.Training',
  batches: 'head_batches.HeadBatches',
  checkpoint: pathlib.Path,
  report: Callable[[str], None],
) -> None:
  from mmdist.priors.training import from_scratch

  num_ranks, started, saved = options.num_processes, time.time(), time.time()
  first = state.num_seen
  losses: list[float] = []
  deadline = started + 60 * (options.max_minutes or 1e9)
  while state.num_seen < training.num_images:
    batch = batches.batch(state.step)
    losses.append(
      from_scratch.train_step(pipeline, state, training, batch, rank, num_ranks)
    )
    if state.step % 50 == 0:
      if rank == 0:
        speed = (state.num_seen - first) / (time.time() - started)
        report(
          f'step {state.step} seen {state.num_seen} '
          f'loss {from_scratch.loss_history(losses):.4f} {speed:.1f} images/s'
        )
      if from_scratch.agree_to_stop(time.time() > deadline, num_ranks):
        break
    if rank == 0 and time.time() - saved > training.save_every_s:
      _save(options, pipeline, state, checkpoint)
      saved = time.time()
  if rank == 0:
    _save(options, pipeline, state, checkpoint, sheet=True)


def _save(
  options: Options,
  pipeline: 'pipelines.Pipeline',
  state: 'from_scratch.TrainingState',
  checkpoint: pathlib.Path,
  sheet: bool = False,
) -> None:
  """Writes the checkpoint and the averaged weights as a prior."""
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import from_scratch

  checkpoint.parent.mkdir(parents=True, exist_ok=True)
  from_scratch.save_checkpoint(checkpoint, pipeline, state)
  undo = from_scratch.averaged(pipeline, state)
  pipelines.save_pipeline(pipeline, checkpoint.parent)
  if sheet:
    _write_sheet(pipeline, options, checkpoint.parent / 'samples.png')
  undo()
  record = {'num_seen': state.num_seen, 'step': state.step}
  record |= dataclasses.asdict(options)
  path = checkpoint.parent / 'training.json'
  atomic.write_text(path, strict_json.dumps(record, indent=2) + '\n')


def _write_sheet(
  pipeline: 'pipelines.Pipeline', options: Options, path: pathlib.Path
) -> None:
  """Samples the fixed prompts and saves them as one picture."""
  from mmdist.data import sheets
  from mmdist.heads import captions
  from mmdist.priors import sample

  texts: tuple[str, ...] = SHEET_PROMPTS
  if options.channel == 'normal':
    swap = (captions.COLOR_PREFIX, captions.NORMAL_PREFIX)
    texts = tuple(text.replace(*swap) for text in texts)
  pictures = sample.sample(pipeline, texts, guidance_scale=4.0, seed=0)
  sheets.save_grid(path, pictures, columns=8, zoom=2)


def _checked(options: Options) -> Options:
  """Raises, before any process starts, if options or files are wrong."""
  from mmdist.heads import shards as head_shards

  options = options_lib.checked(options)
  head_shards.list_shards(pathlib.Path(options.data))
  if options.init:
    asset_paths.resolve(options.init)
  return options


def _say_nothing(line: str) -> None:
  """Does nothing; a lambda could not be pickled for another process."""


def train_in_processes(
  options: Options, report: Callable[[str], None] = _say_nothing
) -> None:
  """Trains in as many processes as asked, or in this one.

  Args:
    options: see `Options`.
    report: is told how it goes, in a process that may be another one: with
      several processes it has to be a function that pickles.

  Raises:
    FileNotFoundError, UserError: in one line; also where one of several
      processes failed.
    locks.InUse: another process works in `out`.
    PermissionError: nothing can be written there, for whatever reason.
    NotFinite: as `worker`, where it is the only process.
  """
  options = _checked(options)
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
