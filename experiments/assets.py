"""Everything that is trained on people, from nothing, in one command.

  python -m experiments.assets --out=runs/assets --dry_run
  python -m experiments.assets --out=runs/assets

Stages, in their order: `pictures` of people and `judge_pictures` of others, the
`color` and the `normal` prior, the `judge` and the `nerf`. Each is a few
commands of this package side by side, which `--dry_run` prints. The same
command goes on where it was stopped: a stage that is done is passed over, and
what a command has done of another one is kept. `--only=color,normal` makes
these alone. What is worth keeping lies in `OUT/assets` afterwards, and
`OUT/made.json` says which command made it, how long the last call of it took
and on what machine.

`--recipe=laptop` is for two cores, most of whose time goes into the colour
prior: 38 pictures a second of the million, on an Intel Xeon. Its priors begin
from those of the stylised heads, which had seen 741,000 pictures of these: they
are after 18,000 pictures of people where one from nothing is after 300,000
(docs/results.md, 'A small prior of people'). `--recipe=gpu` trains them on one
GPU from nothing, in larger networks, and draws with all cores; its numbers are
guesses for a quarter of an hour. Neither recipe was run from its beginning to
its end yet.
Pictures need the extra `heads`.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from typing import Any

from absl import app
from absl import flags

from mmdist.core import atomic
from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import strict_json
from mmdist.run import sessions

FLAGS = flags.FLAGS

RECORD = 'made.json'
# Stage -> name of its asset; pictures are none.
ASSETS = {
  'color': 'people_color',
  'normal': 'people_normal',
  'judge': 'people_judge',
  'nerf': 'people_nerf',
}
# Of a stage's folder; what goes on from checkpoints is no part of an asset.
_KEPT = (
  'mmdist.json',
  'model_index.json',
  'scheduler',
  'text_encoder',
  'tokenizer',
  'unet',
  'judge.json',
  'judge.safetensors',
  'config.json',
  'params.safetensors',
  'results.json',
)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How much is drawn, and how everything is trained.

  Attributes:
    shards: of pictures of people, and as many of siblings.
    judge_shards: of other people, for the judge.
    color, normal, judge, nerf: flags of their commands. A normal prior
      without `--init` begins from the colour prior.
  """

  shards: int
  judge_shards: int
  color: tuple[str, ...]
  normal: tuple[str, ...]
  judge: tuple[str, ...] = ('--num_steps=9000',)
  nerf: tuple[str, ...] = ()


_DRAW = ('--world=people',)
# The judge knows what it measures, so it sees what the priors never do.
_OTHERS = ('--seed=1', '--held_out')
_NETWORK = ('--widths=64,96,128', '--attention=1,2')
_ON_GPU = ('--device=cuda', '--num_processes=1')
RECIPES = {
  'laptop': Recipe(
    shards=80,
    judge_shards=100,
    color=('--init=color', '--num_images=1000000', '--optimizer=adamw'),
    normal=(
      '--init=normal',
      '--num_images=24000',
      '--learning_rate=6e-4',
      '--optimizer=adamw',
    ),
  ),
  'gpu': Recipe(
    shards=64,
    judge_shards=64,
    color=('--num_images=4000000', '--batch_size=256', *_NETWORK, *_ON_GPU),
    normal=(
      '--num_images=96000',
      '--batch_size=64',
      '--learning_rate=6e-4',
      *_ON_GPU,
    ),
  ),
}


@dataclasses.dataclass(frozen=True)
class Stage:
  """A step of the whole.

  Attributes:
    name: of the stage, and of its folder.
    commands: words of commands of this package, which run side by side.
  """

  name: str
  commands: tuple[tuple[str, ...], ...]

  def lines(self) -> list[str]:
    """Returns the commands as they are typed."""
    return [shlex.join(('mmdist', *command)) for command in self.commands]


def stages(recipe: Recipe, out: pathlib.Path, num_cores: int) -> list[Stage]:
  """Returns everything that is to be done, in its order.

  Args:
    recipe: see `RECIPES`.
    out: folder of everything.
    num_cores: processes that draw side by side.
  """

  def data(name: str) -> str:
    return f'--data={out / name}'

  def command(name: str, place: str, *given: str) -> tuple[str, ...]:
    return (name, *given, f'--out={out / place}')

  train = (data('pictures'), f'--held_out={out / "held_out"}')
  drawn = [
    command(
      'heads', 'pictures', *_DRAW, f'--shards={part}', f'--siblings={part}'
    )
    for part in _parts(recipe.shards, num_cores)
  ]
  unseen = ('--shards=900:901', '--siblings=900:901')
  drawn.append(command('heads', 'held_out', *_DRAW, *unseen))
  strangers = [
    command('heads', 'judge_pictures', *_DRAW, *_OTHERS, f'--shards={part}')
    for part in _parts(recipe.judge_shards, num_cores)
  ]
  of_normals = ['--channel=normal']
  if not any(word.startswith('--init=') for word in recipe.normal):
    of_normals.append(f'--init={out / "color"}')
  trained = {
    'color': ('train_prior', *train, *recipe.color),
    'normal': ('train_prior', *train, *of_normals, *recipe.normal),
    'judge': ('train_judge', data('judge_pictures'), *recipe.judge),
    'nerf': ('pretrain', '--config=pretrain:people', *recipe.nerf),
  }
  return [
    Stage('pictures', tuple(drawn)),
    Stage('judge_pictures', tuple(strangers)),
    *(
      Stage(name, (command(words[0], name, *words[1:]),))
      for name, words in trained.items()
    ),
  ]


def _parts(num_shards: int, num_cores: int) -> list[str]:
  """Returns which shards each process draws, FIRST:LAST:STEP."""
  return [
    f'{first}:{num_shards}:{num_cores}'
    for first in range(min(num_cores, num_shards))
  ]


def read_record(out: pathlib.Path) -> dict[str, Any]:
  """Returns stage -> what made it; empty if nothing was made.

  Raises:
    UserError: the record is damaged.
  """
  path = out / RECORD
  try:
    record = json.loads(path.read_text('utf-8'))
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); remove it to begin every stage again.'
    ) from error
  if not isinstance(record, dict):
    raise errors.UserError(
      f'{path} holds no record of stages; remove it to begin every stage again.'
    )
  return record


def make(
  stage: Stage, out: pathlib.Path, say: Callable[[str], None] = print
) -> bool:
  """Runs a stage unless the record says that it is done.

  Args:
    stage: what is to be done.
    out: folder of everything; made if need be.
    say: is told how it goes.

  Returns:
    Whether it was run.

  Raises:
    UserError: the record is damaged, or a command did not succeed.
  """
  record = read_record(out)
  before = record.get(stage.name)
  if isinstance(before, dict) and before.get('commands') == stage.lines():
    say(f'{stage.name}: made before')
    return False
  out.mkdir(parents=True, exist_ok=True)
  for line in stage.lines():
    say(f'{stage.name}: {line}')
  began = time.monotonic()
  _run([_argv(command) for command in stage.commands], stage.name)
  # Before the record, after which the stage is passed over.
  if stage.name in ASSETS:
    keep(out / stage.name, out / 'assets' / ASSETS[stage.name])
  record[stage.name] = {
    'commands': stage.lines(),
    'seconds': round(time.monotonic() - began),
    'machine': f'{cores.count()} cores of {sessions.processor()}',
    'finished': time.strftime('%Y-%m-%d'),
  }
  atomic.write_text(out / RECORD, strict_json.dumps(record, indent=2) + '\n')
  return True


def _argv(command: Sequence[str]) -> list[str]:
  return [sys.executable, '-m', f'launchers.{command[0]}', *command[1:]]


def _run(commands: Sequence[Sequence[str]], name: str) -> None:
  """Runs commands side by side; ends all of them if one does not succeed."""
  # Where there are several, they are as many as cores.
  one_thread = ('env', 'OMP_NUM_THREADS=1') if len(commands) > 1 else ()
  running = [subprocess.Popen([*one_thread, *words]) for words in commands]
  try:
    while any(process.poll() is None for process in running):
      if any(process.poll() for process in running):
        break
      time.sleep(0.2)
  finally:
    for process in running:
      process.terminate()  # Does nothing to one that has ended.
    codes = [process.wait() for process in running]
  if any(codes):
    raise errors.UserError(
      f'{name}: a command ended with code {next(filter(None, codes))}; what it '
      'said is above. The same command goes on from there.'
    )


def keep(folder: pathlib.Path, asset: pathlib.Path) -> None:
  """Copies what is shipped of a stage's folder; an older copy is replaced."""
  if asset.exists():
    shutil.rmtree(asset)
  asset.mkdir(parents=True)
  for path in (folder / name for name in _KEPT):
    if path.is_dir():
      shutil.copytree(path, asset / path.name)
    elif path.exists():
      shutil.copy(path, asset)


def main(argv: Sequence[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f'unexpected words: {" ".join(argv[1:])}')
  try:
    names.check_choice('recipe', FLAGS.recipe, tuple(RECIPES))
    out = pathlib.Path(FLAGS.out).expanduser()
    num_cores = FLAGS.num_cores or cores.count()
    planned = stages(RECIPES[FLAGS.recipe], out, num_cores)
    known = [stage.name for stage in planned]
    for name in FLAGS.only:
      names.check_choice('only', name, known)
    for stage in planned:
      if FLAGS.only and stage.name not in FLAGS.only:
        continue
      if FLAGS.dry_run:
        print('\n'.join(stage.lines()))
      else:
        make(stage, out)
  except errors.UserError as error:
    sys.exit(f'error: {error}')


def _define_flags() -> None:
  flags.DEFINE_string('out', None, 'Folder of everything.', required=True)
  flags.DEFINE_string('recipe', 'laptop', f'One of {", ".join(RECIPES)}.')
  flags.DEFINE_list('only', [], 'Stages to make; empty: all.')
  flags.DEFINE_integer(
    'num_cores', 0, 'Processes that draw; 0: one for each core.', 0
  )
  flags.DEFINE_bool('dry_run', False, 'Print the commands, and do nothing.')


if __name__ == '__main__':
  _define_flags()
  app.run(main)
