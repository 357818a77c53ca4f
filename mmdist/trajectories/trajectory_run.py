"""`mmdist.trajectory`: from one concept to the next, leg after leg."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import os
import pathlib
import shutil
from typing import Any

from mmdist.api import composing
from mmdist.api import executors
from mmdist.api import joining
from mmdist.api import opened_run
from mmdist.api import optimization
from mmdist.api import preparing
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import trajectory_schema
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import representation as representation_lib
from mmdist.core import saying
from mmdist.results import turntable
from mmdist.run import callbacks
from mmdist.run import device_setup
from mmdist.run import workdir as workdir_lib
from mmdist.trajectories import film as film_lib
from mmdist.trajectories import legs as legs_lib
from mmdist.trajectories import starts
from mmdist.trajectories import trajectory_folder as folder
from mmdist.trajectories import way


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """What a trajectory made.

  Attributes:
    workdir: its folder.
    legs: the run of each leg that has begun, in order.
    results: what it is called -> file: 'video', 'animation', 'sheet'; empty
      before its end.
  """

  workdir: pathlib.Path
  legs: tuple[opened_run.Run, ...]
  results: Mapping[str, pathlib.Path]

  @property
  def is_finished(self) -> bool:
    """Whether every leg has reached its end, and the film is made."""
    return bool(self.results)


def trajectory(
  legs: Iterable[legs_lib.LegLike],
  workdir: str | os.PathLike,
  *,
  config: schema.RunConfig | None = None,
  priors: Mapping[str, composing.PriorLike] | None = None,
  representation: representation_lib.Representation | None = None,
  params: representation_lib.Params | None = None,
  executor: executors.ExecutorLike = 'ray',
  film: trajectory_schema.FilmConfig | None = None,
  on_step: Callable[[callbacks.Step], None] | None = None,
  grace_s: float = 60.0,
  preflight_only: bool = False,
  report: Callable[[str], None] = saying.say,
) -> Trajectory:
  """Optimises one objective after the other, and films the whole way.

  Each leg is a run in a folder of its own that starts from the last one's
  result; its proxies and its optimiser are new. Called again with the same legs
  it does what is missing, and there may be more legs than before. SIGTERM and
  Ctrl-C save the leg that runs and return.

  Args:
    legs: `mmdist.Leg`s, or tuples (what, num_steps) or (what, num_steps,
      name).
    workdir: folder of the trajectory; `legs/0-NAME` and so on are runs.
    config: what the legs have in common; None has the defaults.
    priors: see `mmdist.optimize`.
    representation: see `mmdist.optimize`.
    params: what the first leg starts from; see `mmdist.optimize`.
    executor: see `mmdist.optimize`. Not one that is running already, since its
      proxies would be those of the leg before.
    film: how the film is made; None has the defaults.
    on_step: see `mmdist.optimize`; of every leg.
    grace_s: see `mmdist.optimize`.
    preflight_only: take one real step of the first leg that is not finished,
      and keep nothing of it.
    report: is told which leg begins.

  Returns:
    What there is now, also if it was stopped. After a preflight, the legs that
    were finished before.

  Raises:
    UserError, OSError: in one line; a leg, the folder or a result in it.
    DistributionError, NotFinite: see `mmdist.optimize`.
  """
  composing.check_executor(executor)
  if not executors.needs_recipes(executor):
    raise errors.UserError(
      'the executor is running already; expected a name, mmdist.RayOptions or '
      'a function that makes one, since each leg has proxies of its own.'
    )
  film = film or trajectory_schema.FilmConfig()
  trajectory_schema.check_film(film)
  workdir = local_paths.local(workdir)
  planned = legs_lib.plan(legs, config, priors, representation)
  if any(folder.state_of(workdir, leg) != 'finished' for leg in planned):
    joining.check(executor)
  # Before a result is looked at, which starts JAX.
  device_setup.set_up_jax(device_setup.share_cores(1).learner)
  walk = _Walk(
    workdir,
    planned,
    representation,
    params,
    {'priors': priors, 'executor': executor},
    film,
    on_step,
    grace_s,
  )
  if preflight_only:
    return _preflight(walk, report)
  with folder.claimed(workdir, planned) as record:
    made: list[opened_run.Run] = []
    for number, leg in enumerate(planned):
      report(f'leg {leg.name}: {folder.state_of(workdir, leg)}')
      made.append(walk.go(number, made[-1] if made else None))
      if not made[-1].is_finished:
        return Trajectory(workdir, tuple(made), {})
      record.results[leg.name] = folder.digest_of(workdir, leg)
      folder.write(workdir, record)
    results = _make_results(walk, made, record, report)
  return Trajectory(workdir, tuple(made), results)


@dataclasses.dataclass(frozen=True)
class _Walk:
  """A trajectory that was checked: its legs, and what they are run with."""

  workdir: pathlib.Path
  legs: tuple[legs_lib.PlannedLeg, ...]
  representation: representation_lib.Representation | None
  params: representation_lib.Params | None
  given: Mapping[str, Any]
  film: trajectory_schema.FilmConfig
  on_step: Callable[[callbacks.Step], None] | None
  grace_s: float

  def go(self, number: int, before: opened_run.Run | None) -> opened_run.Run:
    """Does what is missing of a leg; returns its run.

    Args:
      number: of the leg.
      before: the run of the leg before, finished; None for the first.
    """
    leg = self.legs[number]
    finished = self.open_finished(number, before)
    if finished is not None:
      return finished
    kept = way.folder_of(self.workdir, leg.name)
    if folder.state_of(self.workdir, leg) == 'new' and kept.is_dir():
      shutil.rmtree(kept)  # Of a leg that was removed.
    config, params = self._start(leg, before)
    if before is None:
      way.write(kept, 0, params)
    return optimization.optimize(
      None,
      folder.leg_folder(self.workdir, leg.name),
      config=config,
      representation=self.representation,
      params=params,
      on_step=way.keeper(kept, self.film.points_per_leg, self.on_step),
      may_change=_may_change(before),
      grace_s=self.grace_s,
      **self.given,
    )

  def open_finished(
    self, number: int, before: opened_run.Run | None
  ) -> opened_run.Run | None:
    """Returns the run of a leg, as of `go`; None unless it is finished."""
    leg = self.legs[number]
    workdir = folder.leg_folder(self.workdir, leg.name)
    if folder.state_of(self.workdir, leg) != 'finished':
      return None
    if not folder.digest_of(self.workdir, leg):
      return None
    # The folder of the trajectory may have been moved since.
    workdir_lib.check(workdir, self._config_of(leg, before), ('nerf_assets',))
    return opened_run.Run(workdir, self.representation)

  def preflight(self, number: int, before: opened_run.Run | None) -> None:
    """Takes one step of a leg elsewhere; writes nothing here.

    Its start is not written either, so it is handed over as parameters.
    """
    leg = self.legs[number]
    optimization.preflight(
      None,
      folder.leg_folder(self.workdir, leg.name),
      config=self._config_of(leg, before),
      representation=self.representation,
      params=self.params if before is None else before.params,
      may_change=_may_change(before),
      **self.given,
    )

  def _config_of(
    self, leg: legs_lib.PlannedLeg, before: opened_run.Run | None
  ) -> schema.RunConfig:
    if before is None or self.representation is not None:
      return leg.config
    directory = starts.directory_of(self.workdir, leg.name)
    return legs_lib.starting_from(leg, directory)

  def _start(
    self, leg: legs_lib.PlannedLeg, before: opened_run.Run | None
  ) -> tuple[schema.RunConfig, Any]:
    """Returns a leg's configuration and what it starts from.

    A representation of one's own cannot be written as pretrained weights. Then
    only `trajectory.json` says that the leg began from the last one's result.
    """
    config = self._config_of(leg, before)
    if before is None:
      _, params = preparing.load_start(config, self.representation, self.params)
      return config, params
    if self.representation is not None:
      return config, before.params
    # Written again each time, so that the leg starts from the result with the
    # recorded sha256, whatever happened to these files meanwhile.
    directory = starts.directory_of(self.workdir, leg.name)
    starts.write(directory, config.nerf, before.params)
    return config, None


def _may_change(before: opened_run.Run | None) -> tuple[str, ...]:
  # Where a later leg starts is a path, and the folder may have been moved.
  return ('nerf_assets',) if before is not None else ()


def _preflight(walk: _Walk, report: Callable[[str], None]) -> Trajectory:
  """Takes one step of the first leg that is not finished; writes nothing."""
  record = folder.check(walk.workdir, walk.legs)
  folder.check_results(walk.workdir, record, walk.legs)
  made: list[opened_run.Run] = []
  for number, leg in enumerate(walk.legs):
    before = made[-1] if made else None
    report(f'leg {leg.name}: {folder.state_of(walk.workdir, leg)}')
    run = walk.open_finished(number, before)
    if run is None:
      walk.preflight(number, before)
      break
    made.append(run)
  else:
    report('every leg is finished, so no step is taken')
  return Trajectory(walk.workdir, tuple(made), {})


def _make_results(
  walk: _Walk,
  runs: list[opened_run.Run],
  record: folder.Record,
  report: Callable[[str], None],
) -> dict[str, pathlib.Path]:
  """Makes film and sheet, unless those that are there show the same."""
  results = walk.legs[-1].config.results
  made_with = {
    'film': serialization.to_dict(walk.film),
    'resolution': results.resolution,
    'results': dict(record.results),
  }
  paths = {n: walk.workdir / file for n, file in film_lib.FILES.items()}
  there = {name: path for name, path in paths.items() if path.is_file()}
  # A video that cannot be made here is not tried again at every look.
  missing = paths.keys() - there.keys()
  if missing == {'video'} and not turntable.can_write_video():
    missing = set()
  if record.film == made_with and not missing:
    return there
  report('making the film')
  ended = [
    film_lib.Ended(
      leg.name,
      way.folder_of(walk.workdir, leg.name),
      run.params,
      leg.config.num_steps,
    )
    for leg, run in zip(walk.legs, runs, strict=True)
  ]
  # One representation for all legs, so that it is compiled once.
  paths = film_lib.make(
    walk.workdir, runs[0].representation, ended, walk.film, results
  )
  record.film = made_with
  folder.write(walk.workdir, record)
  return paths
