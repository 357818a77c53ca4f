"""From shards of heads to a judge that is tested and saved.

Steps and loss are `mmdist.evaluation.train_judge`'s, which imports torch and
is imported inside functions, so that flags are answered at once.
"""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING

from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.run import locks

if TYPE_CHECKING:
  from mmdist.evaluation import judge as judge_lib
  from mmdist.evaluation import train_judge
  from mmdist.heads import shards as head_shards
  from mmdist.heads import worlds


@dataclasses.dataclass(frozen=True)
class Options:
  """What a judge learns from, for how long, and where it goes."""

  data: str = options_lib.option(
    options_lib.REQUIRED, 'Folder of head shards.', is_path=True
  )
  out: str = options_lib.option(
    options_lib.REQUIRED, 'Folder to write.', is_path=True
  )
  num_steps: int = options_lib.option(4000, 'Optimiser steps.', minimum=1)
  seed: int = options_lib.option(0, 'Decides augmentation and order.')


def _pictures(
  world: 'worlds.World',
  shards: 'Sequence[head_shards.HeadShards]',
  questions: 'Sequence[judge_lib.Question]',
) -> 'train_judge.LabelledPictures':
  """Returns the labelled pictures of some shards."""
  import numpy as np

  from mmdist.evaluation import train_judge

  rgba = np.concatenate([shard.rgba for shard in shards])
  shown = [world.attributes.visible(a) for s in shards for a in s.attributes]
  views = [view for shard in shards for view in shard.views]
  labels = train_judge.label_pictures(questions, shown, views)
  return train_judge.LabelledPictures(rgba, labels)


def train(
  options: Options, report: Callable[[str], None] = lambda line: None
) -> dict[str, float]:
  """Trains on the shards in `data`, tests on the last tenth, writes `out`.

  Args:
    options: see `Options`.
    report: is told the loss now and then.

  Returns:
    Question -> share of held-out pictures that are answered rightly.

  Raises:
    FileNotFoundError, UserError: in one line.
    locks.InUse: another process works in `out`.
    PermissionError: nothing can be written there, for whatever reason.
  """
  from mmdist.heads import shards as head_shards

  options = options_lib.checked(options)
  paths = head_shards.list_shards(pathlib.Path(options.data))
  if len(paths) < 2:
    raise errors.UserError(
      f'{options.data} holds one shard; the judge needs two or more, one of '
      'them to be tested on.'
    )
  head_shards.world_of(pathlib.Path(options.data))
  with locks.locked(options.out, '--out'):
    return _train(options, paths, report)


def _train(
  options: Options,
  paths: Sequence[pathlib.Path],
  report: Callable[[str], None],
) -> dict[str, float]:
  from mmdist.evaluation import judge as judge_lib
  from mmdist.evaluation import train_judge
  from mmdist.heads import shards as head_shards

  shards = [head_shards.read_shard(path) for path in paths]
  world = head_shards.common_world(shards)
  questions = tuple(
    judge_lib.Question(**question) for question in world.questions.questions()
  )
  num_held = max(1, len(shards) // 10)
  learned = _pictures(world, shards[:-num_held], questions)
  held = _pictures(world, shards[-num_held:], questions)
  judge = train_judge.init_judge(questions, options.seed)
  judge.world = world
  started = time.time()

  def look(step: int, loss: float) -> None:
    if step % 100 == 0:
      seconds = time.time() - started
      report(f'step {step} loss {loss:.4f} {seconds:.0f} s')

  training = train_judge.JudgeTraining(
    num_steps=options.num_steps, seed=options.seed
  )
  train_judge.train(judge, learned, training, look)
  judge.record = {
    'held_out_accuracy': train_judge.accuracy(judge, held),
    'num_pictures': len(learned),
    'num_held_out': len(held),
    'num_steps': options.num_steps,
    'seed': options.seed,
  }
  judge_lib.save(judge, options.out)
  return judge.record['held_out_accuracy']
