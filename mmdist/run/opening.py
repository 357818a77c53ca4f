"""Opens the folder of a run, finished or not, to look at its avatar."""

import dataclasses
import os
import pathlib
from typing import Any

import jax

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import representation as representation_lib
from mmdist.learner import start
from mmdist.nerf import field
from mmdist.run import checkpointing
from mmdist.run import recipes
from mmdist.run import workdir as workdir_lib


@dataclasses.dataclass(frozen=True)
class Avatar:
  """What a run has made so far.

  Attributes:
    workdir: the run's folder.
    run: its configuration.
    representation: what renders the avatar.
    params: those of a checkpoint, the newest if no other was asked for.
    step: the steps behind it.
  """

  workdir: pathlib.Path
  run: schema.RunConfig
  representation: representation_lib.Representation
  params: representation_lib.Params
  step: int


def open_run(
  workdir: str | os.PathLike,
  representation: representation_lib.Representation | None = None,
  step: int | None = None,
) -> Avatar:
  """Reads the newest sound checkpoint of a run, changing nothing.

  Args:
    workdir: the run's folder.
    representation: the one that the run was given, if it was given one.
    step: read the checkpoint of this step instead.

  Raises:
    FileNotFoundError: the folder holds no run, or no checkpoint yet, or none of
      this step.
    UserError: its configuration cannot be read.
  """
  workdir = local_paths.local(workdir)
  run = read_run(workdir)
  representation = representation_of(run, representation)
  structure = _structure_of(representation)
  store = checkpointing.CheckpointStore(workdir, run, read_only=True)
  with store as checkpoints:
    step, params = checkpoints.read_params(structure, step)
  return Avatar(workdir, run, representation, params, step)


def _structure_of(representation: representation_lib.Representation) -> Any:
  """Returns the parameters' structure and shapes, without drawing them.

  Drawing those of the NeRF takes ten seconds on one core, all of it in
  compiling.
  """
  key = jax.random.key(0)
  try:
    return jax.eval_shape(representation.init, key)
  except jax.errors.JAXTypeError:  # An `init` that looks at the key's numbers.
    return representation.init(key)


def representation_of(
  run: schema.RunConfig,
  given: representation_lib.Representation | None = None,
) -> representation_lib.Representation:
  """Returns what renders a run: the one that is given, or its NeRF.

  Raises:
    UserError: the run was made with one that only a program can give.
  """
  if given is not None:
    return given
  if run.nerf_assets.startswith(recipes.OBJECT):
    kind = run.nerf_assets.removeprefix(recipes.OBJECT)
    raise errors.UserError(
      f'the run was made with a representation of its own ({kind}) and no file '
      'holds it; pass it again as representation=... to mmdist.open_run or '
      'mmdist.optimize.'
    )
  return field.conditional_nerf(run.nerf)


def read_run(workdir: str | os.PathLike) -> schema.RunConfig:
  """Returns the configuration of a run that has a checkpoint.

  Raises:
    FileNotFoundError: the folder holds no run, or no checkpoint yet.
    UserError: its configuration cannot be read.
  """
  run = workdir_lib.read_config(workdir)
  if not (local_paths.local(workdir) / 'checkpoints').is_dir():
    raise FileNotFoundError(
      f'{workdir} has no checkpoint yet; its first comes after '
      'checkpoints.every steps.'
    )
  return run


def digest(workdir: str | os.PathLike) -> tuple[int, str]:
  """Returns the newest sound step of a run, and a sha256 over all of it.

  Raises:
    FileNotFoundError, UserError: see `open_run`.
  """
  workdir = local_paths.local(workdir)
  store = checkpointing.CheckpointStore(
    workdir, read_run(workdir), read_only=True
  )
  with store as checkpoints:
    return checkpoints.digest()


def newest_step(workdir: str | os.PathLike) -> int:
  """Returns the step of the newest checkpoint without opening it; or 0."""
  workdir = local_paths.local(workdir)
  return checkpointing.newest_step(workdir / 'checkpoints')


def steps(workdir: str | os.PathLike) -> list[int]:
  """Returns the steps of a run that have a checkpoint, unread, in order."""
  workdir = local_paths.local(workdir)
  return sorted(checkpointing.steps_in(workdir / 'checkpoints'))


def start_params(avatar: Avatar) -> Any:
  """Returns the parameters that a run began from.

  Raises:
    FileNotFoundError, UserError: its pretrained assets are gone.
  """
  return start.load_params(avatar.run)
