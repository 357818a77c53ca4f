"""Where a leg starts, as a directory of pretrained weights with one code.

So the leg's `config.json` says where it began, as that of any run does. The leg
resumes before its first checkpoint too, `mmdist.optimize` makes the same of it
alone, and `mmdist evaluate --start` measures the right head.
"""

import os
import pathlib

import numpy as np

from mmdist.config import schema
from mmdist.core import representation as representation_lib
from mmdist.nerf import pretrained

FOLDER = 'starts'


def directory_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the directory of a leg's start, absolute: a run is not moved."""
  return pathlib.Path(os.path.abspath(workdir)) / FOLDER / name


def write(
  directory: pathlib.Path,
  nerf: schema.NerfConfig,
  params: representation_lib.Params,
) -> None:
  """Writes parameters of the conditional NeRF as a leg's start.

  Float32 stays what it is to the last bit, and the mean of the one code is that
  code, so the leg starts from exactly these parameters.
  """
  code = np.asarray(params['code'], np.float32)
  pretrained.save(directory, nerf, params, code[None])
