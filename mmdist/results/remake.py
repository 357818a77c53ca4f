"""Makes a run's pictures, mesh or splats from its newest checkpoint."""

from collections.abc import Callable, Mapping
import copy
import dataclasses
import functools
import os
import pathlib

from mmdist.config import schema
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import options as options_lib
from mmdist.core import representation as representation_lib
from mmdist.nerf import field
from mmdist.results import make
from mmdist.results import splats
from mmdist.results import summary
from mmdist.run import metrics_file
from mmdist.run import opening
from mmdist.run import workdir as workdir_lib

LIVE = 'live'  # What `mmdist.results.live_server` serves.
CODES = 'codes'  # Of a pretrained NeRF: what `mmdist.results.codes_film` makes.
# What sees how far an avatar shows what its run was asked.
Judge = Callable[
  [
    schema.RunConfig,
    representation_lib.Representation,
    representation_lib.Params,
  ],
  summary.Judgement | None,
]
SPLATS = 'splats'  # Made only where it is asked for by this name.
ALL = 'all'  # Every other maker's, and the report.
# Each is given folder, representation, parameters and configuration.
MAKERS: Mapping[str, Callable[..., Mapping[str, pathlib.Path]]] = {
  'turntable': make.make_turntable,
  'sheet': make.make_sheet,
  'mesh': make.make_mesh,
  SPLATS: make.make_splats,
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How results are made, and where a live one is served."""

  resolution: int | None = options_lib.option(
    None,
    "Pixels of a picture's side, or grid points of the mesh's and the splats', "
    "in place of the run's results.resolution and results.mesh_resolution. Of "
    "`live`: the most pixels of a picture's longer side, 2048 by default. Of "
    '`codes`: 128 by default, at most 1024.',
    minimum=8,
  )
  texture_size: int | None = options_lib.option(
    None,
    "Texels of a side of the mesh's textures, 64 to 8192, or 0 for colours at "
    "its vertices, in place of the run's results.texture_size.",
  )
  num_splats: int = options_lib.option(
    splats.NUM_SPLATS,
    'Gaussians of `splats`. A file has 68 bytes for each; fewer than '
    f'{splats.FEWEST} show no face, and more than {splats.MOST} are too many '
    'for viewers.',
    minimum=splats.FEWEST,
    maximum=splats.MOST,
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
  out: str = options_lib.option(
    '',
    'Of `codes`: the folder of its film and sheet. All other results are made '
    "in the run's folder.",
    is_path=True,
  )
  num_subjects: int = options_lib.option(
    6, 'Of `codes`: training subjects at whose codes it stops.', minimum=2
  )
  frames: int = options_lib.option(
    16,
    'Of `codes`: frames of the film from one subject to the next, 24 a second.',
    minimum=2,
    maximum=240,
  )
  seed: int = options_lib.option(0, 'Of `codes`: decides which subjects.')


def check_kind(kind: str) -> None:
  """Raises UserError unless a key of `MAKERS`, `ALL`, `LIVE` or `CODES`."""
  known = (*MAKERS, ALL, LIVE, CODES)
  if kind not in known:
    raise errors.UserError(names.unknown('result', kind, known, 'Results'))


def remake(
  kind: str,
  workdir: str | os.PathLike,
  options: Options = Options(),
  judge: Judge | None = None,
) -> dict[str, pathlib.Path]:
  """Makes one kind of result in the run's folder; returns name -> file.

  Args:
    kind: a key of `MAKERS`, or `ALL`.
    workdir: a run's folder.
    options: resolution, quality and the number of splats; they are for what is
      made here, and the run's settings stay as they are.
    judge: whose verdict the report says; None leaves it out.

  Raises:
    UserError: the kind is unknown, there is no surface to mesh, a mesh cannot
      have such a texture, or a link in the folder leads out of it.
    FileNotFoundError: there is no such run, or no checkpoint yet.
  """
  known = (*MAKERS, ALL)
  if kind not in known:
    raise errors.UserError(names.unknown('result', kind, known, 'Results'))
  options = options_lib.checked(options)
  validation.check_texture_size('texture_size', options.texture_size or 0)
  avatar = opening.open_run(workdir)
  workdir_lib.check_links(avatar.workdir)
  run = copy.deepcopy(avatar.run)
  if options.resolution:
    run.results.resolution = options.resolution
    run.results.mesh_resolution = options.resolution
  if options.texture_size is not None:
    run.results.texture_size = options.texture_size
  representation = avatar.representation
  if options.quality:
    representation = field.conditional_nerf(field.quality(run.nerf))
  if kind != ALL:
    maker = MAKERS[kind]
    if kind == SPLATS:
      maker = functools.partial(maker, num_splats=options.num_splats)
    return dict(maker(avatar.workdir, representation, avatar.params, run))
  return dict(
    make.make_all(
      avatar.workdir,
      representation,
      avatar.params,
      run,
      avatar.workdir / metrics_file.NAME,
      judge(run, representation, avatar.params) if judge else None,
    )
  )
