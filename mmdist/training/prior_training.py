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
from mmdist.core import messages
from mmdist.core import options as options_lib
from mmdist.core import strict_json
from mmdist.run import locks
from mmdist.training import prior_clock

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


DEVICES = ('cpu', 'cuda')
WIDTHS = (48, 96, 160)
# Each resolution halves the last one, from 32 latents along an axis.
_MOST_WIDTHS = 6


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
  device: str = options_lib.option(
    'cpu', 'Where it is trained; cuda: by one process.', choices=DEVICES
  )
  widths: tuple[int, ...] = options_lib.option(
    WIDTHS, 'Channels per resolution, finest first; multiples of 16.'
  )
  attention: tuple[int, ...] = options_lib.option(
    (),
    'Resolutions that attend to the text, 0 the finest; empty: the coarsest.',
  )
  layers_per_block: int = options_lib.option(
    1, 'Residual blocks per resolution.', minimum=1
  )
  held_out: str = options_lib.option(
    '',
    'Folder of shards that are not trained on, to see how well they are '
    'denoised.',
    is_path=True,
  )
  held_out_minutes: float = options_lib.option(
    5.0,
    'Minutes between looks at held_out; 0: only at the end.',
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
  from mmdist.priors.training import from_scratch

  from_scratch.join(rank, options.num_processes, pathlib.Path(rendezvous))
  training = from_scratch.Training(
    num_images=options.num_images,
    learning_rate=options.learning_rate,
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
  from mmdist.heads import captions
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import embedded

  if options.init:
    pipeline = pipelines.open_pipeline(
      asset_paths.resolve(options.init),
      training.dtype,
      options.device,
      train=True,
    )
  else:
    # Its defaults where nothing else is asked for, so that these stand once.
    changes: dict[str, Any] = {}
    if _architecture(options) != _architecture(Options('', '')):
      changes['architecture'] = embedded.Architecture(**_architecture(options))
    pipeline = embedded.make_pipeline(
      captions.vocabulary(),
      seed=training.seed,
      device=options.device,
      **changes,
    )
  pipeline.denoiser.requires_grad_(True).train()
  pipeline.text.modules[0].requires_grad_(False).eval()
  return pipeline


def _architecture(options: Options) -> dict[str, Any]:
  levels = range(len(options.widths))
  attending = options.attention or levels[-1:]
  return {
    'widths': options.widths,
    'attention': tuple(level in attending for level in levels),
    'layers_per_block': options.layers_per_block,
  }


def _begin(
  options: Options,
  pipeline: 'pipelines.Pipeline',
  training: 'from_scratch.Training',
  report: Callable[[str], None],
) -> 'from_scratch.TrainingState':
  """Goes on from the checkpoint, or teaches the text encoder to read."""
  from mmdist.heads import captions
  from mmdist.priors.training import from_scratch
  from mmdist.priors.training import reading

  checkpoint = _checkpoint(options)
  if checkpoint.exists():
    return from_scratch.load_checkpoint(checkpoint, pipeline, training, report)
  if not options.init:
    # Every rank trains the text encoder itself; with the same seed all get
    # the same weights.
    lesson = reading.Lesson(options.reading_steps, seed=training.seed)
    share = reading.teach(
      pipeline.text, captions.questions(), captions.draw, lesson
    )
    report(f'text encoder: {share:.1%} of what is said is read')
  return from_scratch.init_state(pipeline, training)


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
  from mmdist.heads import captions

  batches = head_batches.HeadBatches(
    pathlib.Path(options.data),
    options.channel,
    options.batch_size,
    training.seed,
    rank,
    options.num_processes,
    captions.NORMAL_PREFIX if options.channel == 'normal' else None,
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
    _sheet_prompts(options),
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
    report(f'step {state.step} {pictures.line(pipeline)}')
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
  from mmdist.priors import pipeline as pipelines
  from mmdist.priors.training import from_scratch

  checkpoint = _checkpoint(options)
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
  from mmdist.priors import sample

  pictures = sample.sample(
    pipeline, _sheet_prompts(options), guidance_scale=4.0, seed=0
  )
  sheets.save_grid(path, pictures, columns=8, zoom=2)


def _sheet_prompts(options: Options) -> tuple[str, ...]:
  from mmdist.heads import captions

  if options.channel != 'normal':
    return SHEET_PROMPTS
  swap = (captions.COLOR_PREFIX, captions.NORMAL_PREFIX)
  return tuple(text.replace(*swap) for text in SHEET_PROMPTS)


def _checked(options: Options) -> Options:
  """Raises, before any process starts, if options or files are wrong."""
  from mmdist.heads import shards as head_shards

  options = options_lib.checked(options)
  head_shards.list_shards(pathlib.Path(options.data))
  if options.held_out:
    head_shards.list_shards(pathlib.Path(options.held_out))
  if options.init:
    asset_paths.resolve(options.init)
  _check_architecture(options)
  if options.device == 'cuda':
    _check_cuda(options)
  return options


def _check_architecture(options: Options) -> None:
  """Raises UserError if no network can be made of these sizes."""
  widths, levels = options.widths, range(len(options.widths))
  if options.init and _architecture(options) != _architecture(Options('', '')):
    raise errors.UserError(
      'widths, attention and layers_per_block are of a prior from nothing, and '
      f'init is {options.init}; leave one or the other out.'
    )
  if not 1 <= len(widths) <= _MOST_WIDTHS or any(
    width < 16 or width % 16 for width in widths
  ):
    raise errors.UserError(
      f'widths is {",".join(map(str, widths))}; expected one to '
      f'{_MOST_WIDTHS} multiples of 16, such as 48,96,160.'
    )
  if not set(options.attention) <= set(levels):
    raise errors.UserError(
      f'attention is {",".join(map(str, options.attention))}; expected '
      f'resolutions from 0, the finest, to {levels[-1]}.'
    )


def _check_cuda(options: Options) -> None:
  """Raises UserError if there is no GPU to train on, or several would share."""
  if options.num_processes > 1:
    raise errors.UserError(
      f'device is cuda and num_processes is {options.num_processes}; one '
      'process drives the GPU, so give --num_processes=1.'
    )
  import torch

  if not torch.cuda.is_available():
    raise errors.UserError(
      'device is cuda and torch finds no CUDA device; give --device=cpu, or '
      'install a torch for CUDA on a machine that has one.'
    )


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
