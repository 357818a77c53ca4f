"""Procedural heads as pictures, as a multi-view set, or as training shards.

  mmdist heads --num=8 --seed=0 --out=runs/heads
  mmdist heads --shards=0:160 --out=runs/heads64

The first writes `sheet.png` (colour above normals, three views a head),
`captions.txt` and one folder per head in the layout of `transforms.json`. The
second fills a folder for `mmdist train_prior`; two processes may share the
work with `--shards=0:160:2` and `--shards=1:160:2`. `--siblings=0:28` adds
families of heads that differ in one thing each, half of them in expression,
which is how a prior learns the words for what is small in a picture.
`--families=wear,hair_color` has families differ in these alone.

`--world=people` draws people on free human meshes, with the extra `heads`. The
default is `clay`, whose heads the shipped priors and judge know. A folder of
shards is of one world, and what is trained on it takes the world from there. A
shard of people has eight pictures of each, since to build a body takes longer
than to look at it.

  mmdist heads --photos=12 --seed=5 --index=2 --out=runs/photos

takes pictures of one head as a friend would, for `mmdist personalize`. With
`--close_ups=4` the last four are of mouth and eyes, and `photo-00.txt` and so
on say which view each picture is, which `personalize` reads.
"""

from mmdist.heads import folders

from . import terminal


def main(options: folders.Options) -> None:
  """Writes what the flags ask for."""
  folders.write(options, terminal.say)


COMMAND = terminal.Command(main, folders.Options)

if __name__ == '__main__':
  COMMAND.run()
