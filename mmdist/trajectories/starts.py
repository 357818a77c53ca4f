"""Where a leg starts, as a directory of pretrained weights with one code.

The directory is the `nerf_assets` of the leg's configuration, as for any run.
So a leg that was stopped before its first checkpoint starts there again,
`mmdist.optimize` with that configuration makes the same run, and `mmdist
evaluate --start` measures the right head.
"""

import os
import pathlib

import numpy as np

from mmdist.config import schema
from mmdist.core import representation as representation_lib
from mmdist.nerf import pretrained

FOLDER = 'starts'


def directory_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the directory of a leg's start, as an absolute path."""
  return pathlib.Path(os.path.abspath(workdir)) / FOLDER / name


def write(
  directory: pathlib.Path,
  nerf: schema.NerfConfig,
  params: representation_lib.Params,
) -> None:
  """Writes parameters of the conditional NeRF as a leg's start.

  Arrays of float32 are stored bit for bit, and the mean over one code is that
  code, so the leg starts from exactly these parameters.
  """
  code = np.asarray(params['code'], np.float32)
  pretrained.save(directory, nerf, params, code[None])
