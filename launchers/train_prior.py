"""Trains a small text-to-image prior on pictures of procedural heads.

  mmdist heads --shards=0:44 --siblings=0:28 --out=runs/heads64
  mmdist train_prior --data=runs/heads64 --out=runs/color

The same command goes on from the last checkpoint. `--out` is a diffusers
directory at every checkpoint, beside `training.safetensors`.
"""

from mmdist.training import prior_training

from . import terminal


def main(options: prior_training.Options) -> None:
  """Trains a prior as the flags ask."""
  prior_training.train_in_processes(options, terminal.say)


COMMAND = terminal.Command(main, prior_training.Options)

if __name__ == '__main__':
  COMMAND.run()
