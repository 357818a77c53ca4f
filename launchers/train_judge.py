"""Trains the judge on procedural heads that no prior has seen.

  python -m launchers.heads --shards=0:32 --seed=1 --held_out --out=runs/judge64
  python -m launchers.train_judge --data=runs/judge64 --out=runs/judge

The priors' pictures are of family 0; the judge's are of another, and include
the combinations that priors never see. A tenth is kept for its accuracy,
which is printed and stored in `judge.json`.
"""

import os
import pathlib
import time

from absl import flags

from launchers import terminal


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_string('data', None, 'Folder of head shards.', required=True)
  flags.DEFINE_string('out', None, 'Folder to write.', required=True)
  flags.DEFINE_integer('num_steps', 4000, 'Optimiser steps.', 1)
  flags.DEFINE_integer('seed', 0, 'Augmentation and order.')


def _pictures(shards, questions):
  """Labelled pictures of some shards."""
  import numpy as np

  from mmdist.evaluation import train_judge
  from mmdist.heads import attributes as head_attributes

  rgba = np.concatenate([shard.rgba for shard in shards])
  shown = [head_attributes.visible(a) for s in shards for a in s.attributes]
  views = [view for shard in shards for view in shard.views]
  labels = train_judge.label_pictures(questions, shown, views)
  return train_judge.LabelledPictures(rgba, labels)


def train(
  data: str | os.PathLike, out: str | os.PathLike, num_steps: int, seed: int
) -> None:
  """Trains on the shards in `data`, tests on the last tenth, writes `out`."""
  from mmdist.evaluation import judge as judge_lib
  from mmdist.evaluation import train_judge
  from mmdist.heads import questions as head_questions
  from mmdist.heads import shards as head_shards

  questions = tuple(
    judge_lib.Question(**question) for question in head_questions.questions()
  )
  paths = head_shards.list_shards(pathlib.Path(data))
  if len(paths) < 2:
    raise ValueError(
      f'{data} holds one shard; the judge needs two or more, one of them to be '
      'tested on.'
    )
  shards = [head_shards.read_shard(path) for path in paths]
  num_held = max(1, len(shards) // 10)
  learned = _pictures(shards[:-num_held], questions)
  held = _pictures(shards[-num_held:], questions)
  judge = train_judge.init_judge(questions, seed)
  started = time.time()

  def report(step, loss):
    if step % 100 == 0:
      seconds = time.time() - started
      print(f'step {step} loss {loss:.4f} {seconds:.0f} s', flush=True)

  training = train_judge.JudgeTraining(num_steps=num_steps, seed=seed)
  train_judge.train(judge, learned, training, report)
  judge.record = {
    'held_out_accuracy': train_judge.accuracy(judge, held),
    'num_pictures': len(learned),
    'num_held_out': len(held),
    'num_steps': num_steps,
    'seed': seed,
  }
  judge_lib.save(judge, out)
  for name, share in judge.record['held_out_accuracy'].items():
    print(f'{name:16} {share:.3f}')


def main(argv) -> None:
  """Trains a judge as the flags ask."""
  del argv
  values = flags.FLAGS
  train(values.data, values.out, values.num_steps, values.seed)


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
