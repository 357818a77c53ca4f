"""Trains the judge on procedural heads that no prior has seen.

  mmdist heads --shards=0:32 --seed=1 --held_out --out=runs/judge64
  mmdist train_judge --data=runs/judge64 --out=runs/judge

The priors' pictures are of family 0; the judge's are of another, and include
the combinations that priors never see. A tenth is kept for its accuracy,
which is printed and stored in `judge.json`.
"""

from mmdist.training import judge_training

from . import terminal


def main(options: judge_training.Options) -> None:
  """Prints the held-out accuracy of each question."""
  accuracy = judge_training.train(options, terminal.say)
  for name, share in accuracy.items():
    print(f'{name:16} {share:.3f}')


COMMAND = terminal.Command(main, judge_training.Options)

if __name__ == '__main__':
  COMMAND.run()
