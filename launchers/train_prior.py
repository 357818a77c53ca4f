"""Trains a small text-to-image prior on pictures of procedural heads.

  mmdist heads --shards=0:44 --siblings=0:28 --out=runs/heads64
  mmdist train_prior --data=runs/heads64 --out=runs/color

The same command goes on from the last checkpoint. `--out` is a diffusers
directory at every checkpoint, beside `training.safetensors`.

  mmdist train_prior --data=runs/heads64 --out=runs/large --device=cuda \
    --num_processes=1 --batch_size=1024 --num_images=30000000 \
    --widths=64,128,256 --attention=1,2 --held_out=runs/unseen64

On a GPU one process drives it: all pictures lie in its memory, other processes
draw which of them a step sees, and the step is recorded once and played back.
A training may begin on one device and go on on the other; it then says that its
bits differ. `--widths`, `--attention`, `--layers_per_block`, `--patch` and
`--prediction` are of a prior from nothing; `--held_out` names shards of heads
that are not trained on, and the lines tell how well they are denoised and, of
siblings in the same folder, how much of what they differ in follows from their
words. A network that predicts the image, and Muon for its matrices, learn
two to four times as fast as one that predicts v, by AdamW (docs/results.md).
"""

from mmdist.training import prior_training

from . import terminal


def main(options: prior_training.Options) -> None:
  """Trains a prior as the flags ask."""
  prior_training.train_in_processes(options, terminal.say)


COMMAND = terminal.Command(main, prior_training.Options)

if __name__ == '__main__':
  COMMAND.run()
