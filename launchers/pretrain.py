"""Pretrains the conditional NeRF on many photographed heads.

  mmdist pretrain --config=pretrain --out=runs/nerf

The same command goes on from the last checkpoint. `--out` becomes a directory
that `--config.nerf_assets` of an optimisation takes.

  mmdist pretrain --data=DIR --out=runs/nerf \\
    --config.num_unseen_subjects=0

learns from pictures instead: a folder per subject in nerfstudio's or Blender's
layout, in the world that `mmdist/data/multiview.py` describes. Row i of the
codes is line i of `subjects.txt` in `--out`.
"""

from mmdist.config import serialization
from mmdist.core import strict_json
from mmdist.learner import pretrain
from mmdist.training import pretraining

from . import config_flag
from . import terminal


def main(config: pretrain.PretrainConfig, options: pretraining.Options) -> None:
  """Prints the configuration, how it goes, and what was measured."""
  print(strict_json.dumps(serialization.to_dict(config), indent=2))
  print(pretraining.pretrain(config, options, terminal.say))


COMMAND = terminal.Command(
  main,
  pretraining.Options,
  config=config_flag.Config(
    'pretrain', pretrain.PretrainConfig, check=lambda config: None
  ),
)

if __name__ == '__main__':
  COMMAND.run()
