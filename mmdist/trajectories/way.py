"""The way of each leg: its parameters every few steps, for the film.

They are written in `on_step`, before a checkpoint of the same step. So a run
that is killed and resumed repeats each step whose file is missing, and a step
that is repeated replaces its file. No file is missing in the end, and none is
left over from steps that do not count. Checkpoints are not used for the film,
since they hold the optimiser and every proxy as well.
"""

from collections.abc import Callable
import math
import pathlib

import safetensors
import safetensors.numpy

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.run import callbacks
from mmdist.run import snapshots

FOLDER = 'way'
_PREFIX = 'params'


def folder_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the folder of a leg's way."""
  return workdir / FOLDER / name


def is_kept(step: int, num_steps: int, num_points: int) -> bool:
  """Returns whether the parameters after a step are kept.

  Those after the last step are not: the leg's result has them.

  Args:
    step: steps behind the leg.
    num_steps: of the leg.
    num_points: that are wanted, at most.
  """
  every = math.ceil(num_steps / num_points)
  return step < num_steps and step % every == 0


def keeper(
  folder: pathlib.Path,
  num_points: int,
  then: Callable[[callbacks.Step], None] | None = None,
) -> Callable[[callbacks.Step], None]:
  """Returns an `on_step` that keeps the way of a leg.

  Args:
    folder: see `folder_of`.
    num_points: see `is_kept`.
    then: is called afterwards, with the same.
  """

  def on_step(step: callbacks.Step) -> None:
    if is_kept(step.number, step.config.num_steps, num_points):
      write(folder, step.number, step.params)
    if then is not None:
      then(step)

  return on_step


def write(
  folder: pathlib.Path, step: int, params: representation_lib.Params
) -> None:
  """Writes the parameters after a step, whole or not at all."""
  folder.mkdir(parents=True, exist_ok=True)
  arrays = snapshots.flatten_tree(params, _PREFIX)
  data = safetensors.numpy.save(arrays)
  atomic.write_bytes(folder / f'{step}.safetensors', data)


def steps_in(folder: pathlib.Path) -> list[int]:
  """Returns the steps that were kept, in order."""
  found = folder.glob('*.safetensors') if folder.is_dir() else ()
  return sorted(int(path.stem) for path in found if path.stem.isdecimal())


def read(
  folder: pathlib.Path, step: int, like: representation_lib.Params
) -> representation_lib.Params:
  """Returns the parameters after a step.

  Args:
    folder: see `folder_of`.
    step: one of `steps_in`.
    like: says structure and shapes.

  Raises:
    UserError: the file is damaged, or of other parameters.
  """
  path = folder / f'{step}.safetensors'
  try:
    arrays = safetensors.numpy.load_file(path)
  except safetensors.SafetensorError as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); remove it, and the film goes without.'
    ) from error
  return snapshots.restore_tree(arrays, like, _PREFIX, step)
