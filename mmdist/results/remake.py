"""Makes a run's pictures or its mesh again, from its newest checkpoint."""

from collections.abc import Mapping
import copy
import dataclasses
import os
import pathlib

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import options as options_lib
from mmdist.core import representation as representation_lib
from mmdist.nerf import field
from mmdist.results import make
from mmdist.run import opening
from mmdist.run import reporting
from mmdist.run import workdir as workdir_lib

LIVE = 'live'  # What `mmdist.results.live_server` serves.


def _make_all(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  metrics = workdir / reporting.METRICS_NAME
  return make.make_all(workdir, representation, params, run, metrics)


MAKERS = {
  'turntable': make.make_turntable,
  'sheet': make.make_sheet,
  'mesh': make.make_mesh,
  'all': _make_all,
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How results are made again, and where a live one is served."""

  resolution: int | None = options_lib.option(
    None,
    "Pixels of a picture's side, or grid points of the mesh's, in place of the "
    "run's results.resolution and results.mesh_resolution.",
    minimum=8,
  )
  quality: bool = options_lib.option(
    False,
    'Four times the samples along each ray, by a second proposal pass; '
    'pictures take about four times as long.',
  )
  port: int = options_lib.option(8080, 'Of `live`.', minimum=1, maximum=65535)
  host: str = options_lib.option(
    '127.0.0.1', 'Of `live`; 0.0.0.0 lets other machines look.'
  )


def check_kind(kind: str) -> None:
  """Raises UserError unless it is a key of `MAKERS` or `LIVE`."""
  known = (*MAKERS, LIVE)
  if kind not in known:
    raise errors.UserError(names.unknown('result', kind, known, 'Results'))


def remake(
  kind: str, workdir: str | os.PathLike, options: Options = Options()
) -> dict[str, pathlib.Path]:
  """Makes one kind of result in the run's folder; returns name -> file.

  Args:
    kind: a key of `MAKERS`.
    workdir: a run's folder.
    options: resolution and quality.

  Raises:
    UserError: the kind is unknown, there is no surface to mesh, or a link in
      the folder leads out of it.
    FileNotFoundError: there is no such run, or no checkpoint yet.
  """
  if kind not in MAKERS:
    raise errors.UserError(names.unknown('result', kind, MAKERS, 'Results'))
  options_lib.check(options)
  avatar = opening.open_run(workdir)
  workdir_lib.check_links(avatar.workdir)
  run = copy.deepcopy(avatar.run)
  if options.resolution:
    run.results.resolution = options.resolution
    run.results.mesh_resolution = options.resolution
  representation = avatar.representation
  if options.quality:
    representation = field.conditional_nerf(field.quality(run.nerf))
  maker = MAKERS[kind]
  return dict(maker(avatar.workdir, representation, avatar.params, run))
