"""`mmdist.open_run`: a run's folder as an object that can show itself."""

import base64
from collections.abc import Mapping
import copy
import functools
import html
import os
import pathlib
from typing import Any

import numpy as np

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import names
from mmdist.core import representation as representation_lib
from mmdist.core import tables
from mmdist.nerf import field
from mmdist.nerf import images
from mmdist.objectives import concept as concept_lib
from mmdist.results import ledger_table
from mmdist.results import make
from mmdist.results import splats as splats_lib
from mmdist.results import turntable
from mmdist.run import metrics_file
from mmdist.run import opening
from mmdist.run import reporting
from mmdist.run import workdir as workdir_lib

# Azimuth and elevation in degrees of the views that have a name.
NAMED_VIEWS: Mapping[str, tuple[float, float]] = {
  'front': (0.0, 5.0),
  'left': (-90.0, 5.0),
  'right': (90.0, 5.0),
  'back': (180.0, 5.0),
  'overhead': (0.0, 55.0),
  'three-quarter': (35.0, 5.0),
}
_CHANNELS = ('rgb', 'normals', 'acc', 'depth')
# A notebook shows the first of these files that is there.
_PICTURES = (
  make.FILES['animation'],
  make.FILES['sheet'],
  reporting.PREVIEW_NAME,
)


class Run:
  """One run, finished or still going.

  Only the configuration is read at once. Everything else is read when it is
  asked for, from the newest sound checkpoint.

  Attributes:
    workdir: the run's folder.
    config: its configuration.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    representation: representation_lib.Representation | None = None,
  ):
    """Reads the configuration.

    Args:
      workdir: the run's folder.
      representation: the one that the run was given, if it was given one.

    Raises:
      FileNotFoundError: the folder holds no run.
      UserError: its configuration cannot be read.
    """
    self.workdir = local_paths.local(workdir)
    self.config: schema.RunConfig = workdir_lib.read_config(self.workdir)
    self._given = representation
    self._avatar: opening.Avatar | None = None

  @property
  def objective(self) -> concept_lib.ComposedObjective:
    """The concepts that the run asks for, with their weights."""
    return concept_lib.from_config(self.config)

  @property
  def step(self) -> int:
    """Steps taken at the newest checkpoint; 0 before the first one."""
    return opening.newest_step(self.workdir)

  @property
  def is_finished(self) -> bool:
    """Whether the newest checkpoint is of the last step."""
    return self.step >= self.config.num_steps

  @property
  def representation(self) -> representation_lib.Representation:
    """What renders the run's avatar."""
    if self._given is None:
      self._given = opening.representation_of(self.config)
    return self._given

  @property
  def params(self) -> Any:
    """The representation's parameters at the newest sound checkpoint.

    Raises:
      FileNotFoundError: there is no checkpoint yet.
    """
    if self._avatar is None or self._avatar.step < self.step:
      self._avatar = opening.open_run(self.workdir, self.representation)
    return self._avatar.params

  @property
  def metrics(self) -> list[dict[str, float]]:
    """One dict for each step: its number, seconds, losses and norms.

    A number that was not finite is NaN here, and null in the file.

    Raises:
      UserError: a line of the file, other than a torn last one, is damaged.
    """
    return metrics_file.read(self.workdir / metrics_file.NAME)

  def ledger(self, first: int = 0, last: int | None = None) -> tables.Table:
    """Returns what each prior, and each of its concepts, did to the update.

    Args:
      first: the first step of the window; -50 begins fifty steps before the
        end.
      last: the step after the window; None takes all that is there.

    Returns:
      A table of means over the window, which a notebook shows:
      `ledger['share']` is a column, `ledger[0]` a row, `ledger.to_csv(path)`
      writes it. docs/method.md, section 2, 'Ledger', defines its numbers.
    """
    return ledger_table.make(self.metrics, self.config, first, last)

  @property
  def results(self) -> dict[str, pathlib.Path]:
    """The files in the run's folder that are for people, by name."""
    return {
      name: self.workdir / file
      for name, file in make.FILES.items()
      if (self.workdir / file).is_file()
    }

  def digest(self) -> str:
    """Returns a sha256 over all of the newest sound checkpoint."""
    return opening.digest(self.workdir)[1]

  def render(
    self,
    view: str | tuple[float, float] = 'front',
    *,
    resolution: int = 0,
    channel: str = 'rgb',
    quality: bool = False,
  ) -> np.ndarray:
    """Renders the head from one side.

    Args:
      view: one of `NAMED_VIEWS`, or (azimuth, elevation) in degrees.
      resolution: H = W; 0 takes the run's `results.resolution`.
      channel: 'rgb', 'normals', 'acc' or 'depth'.
      quality: four times the samples along each ray.

    Returns:
      [H, W, 3] uint8 for 'rgb' and 'normals'; [H, W] float32 for the opacity
      'acc' in [0, 1] and for 'depth' in world units.

    Raises:
      UserError: there is no such view or channel.
      FileNotFoundError: there is no checkpoint yet.
    """
    names.check_choice('channel', channel, _CHANNELS)
    azimuth, elevation = np.radians(_angles(view))
    views = orbits.make_views(
      np.array([azimuth]),
      elevation,
      orbits.CAMERA_DISTANCE,
      orbits.HEAD_TARGET,
      orbits.HEAD_HALF_HEIGHT,
    )
    shown = images.render_images(
      self._representation(quality),
      self.params,
      views,
      resolution or self.config.results.resolution,
      np.asarray(turntable.BACKGROUND, np.float32),
      with_normals=channel == 'normals',
    )[channel][0]
    if channel in ('rgb', 'normals'):
      return turntable.to_uint8(shown)
    return shown

  def turntable(self, **options: Any) -> pathlib.Path:
    """Makes `turntable.mp4` and `turntable.webp`; returns the video's path.

    Without ffmpeg there is no video, and the animation's path is returned.

    Args:
      **options: `resolution` and `quality`, as for `render`.
    """
    made = self._make(make.make_turntable, **options)
    return made.get('video') or made['animation']

  def sheet(self, **options: Any) -> pathlib.Path:
    """Makes `sheet.png`, named views in colour and normals; returns its path.

    Args:
      **options: `resolution` and `quality`, as for `render`.
    """
    return self._make(make.make_sheet, **options)['sheet']

  def mesh(
    self,
    path: str | os.PathLike | None = None,
    *,
    resolution: int = 0,
    texture_size: int | None = None,
  ) -> pathlib.Path:
    """Makes a closed triangle mesh with textures; returns its path.

    Args:
      path: the .glb file to write; None is `mesh.glb` in the run's folder, with
        `mesh.html` beside it.
      resolution: grid points per axis; 0 takes `results.mesh_resolution`.
      texture_size: texels of a side of its colours and of its normal map, 64 to
        8192; 0: colours at the vertices; None takes `results.texture_size`.

    Raises:
      UserError: the head has no surface yet, or it cannot have such a texture.
    """
    if texture_size is None:
      texture_size = self.config.results.texture_size
    validation.check_texture_size('texture_size', texture_size)
    if path is None:
      made = self._make(
        make.make_mesh, resolution=resolution, texture_size=texture_size
      )
      return made['mesh']
    target = local_paths.local(path)
    # Here, because importing it takes a second.
    from mmdist.results import triangle_mesh

    surface = triangle_mesh.make_mesh(
      self.representation,
      self.params,
      resolution or self.config.results.mesh_resolution,
      texture_size,
    )
    triangle_mesh.write_glb(target, surface)
    return target

  def splats(
    self,
    path: str | os.PathLike | None = None,
    *,
    num_splats: int = splats_lib.NUM_SPLATS,
    resolution: int = 0,
  ) -> pathlib.Path:
    """Makes Gaussians on the head's surface; returns their file's path.

    Args:
      path: the .ply file to write; None is `splats.ply` in the run's folder.
      num_splats: how many, 1,000 to 2,000,000; 68 bytes of the file each.
      resolution: grid points per axis; 0 takes `results.mesh_resolution`.

    Raises:
      UserError: the head has no surface yet, or there cannot be so many.
    """
    if path is None:
      maker = functools.partial(make.make_splats, num_splats=num_splats)
      return self._make(maker, resolution=resolution)['splats']
    target = local_paths.local(path)
    resolution = resolution or self.config.results.mesh_resolution
    avatar = (self.representation, self.params)
    made = splats_lib.make_splats(*avatar, resolution, num_splats)
    splats_lib.write(target, made)
    return target

  def evaluate(self, judge: str = 'judge') -> dict[str, Any]:
    """Returns how well the head shows what was asked, by the judge.

    Args:
      judge: an embedded name or the directory of another one.

    Returns:
      A row of what `mmdist evaluate --json` prints.

    Raises:
      FileNotFoundError: there is no such judge, or no checkpoint yet.
      UserError: the judge or the run cannot be read.
    """
    # Here, because it imports torch.
    from mmdist.core import asset_paths
    from mmdist.evaluation import judge as judge_lib
    from mmdist.evaluation import run_evaluation

    opened = judge_lib.load(asset_paths.resolve(judge))
    return run_evaluation.evaluate_run(
      str(self.workdir), opened, representation=self._given
    )

  def _representation(self, quality: bool) -> representation_lib.Representation:
    if not quality:
      return self.representation
    if not isinstance(self.representation, field.ConditionalNerf):
      raise errors.UserError(
        "quality mode is the conditional NeRF's; this run has a "
        f'{type(self.representation).__name__}.'
      )
    return field.conditional_nerf(field.quality(self.config.nerf))

  def _make(
    self,
    maker: Any,
    *,
    resolution: int = 0,
    quality: bool = False,
    texture_size: int | None = None,
  ) -> Mapping[str, pathlib.Path]:
    """Makes one kind of result in the run's folder."""
    workdir_lib.check_links(self.workdir)
    config = copy.deepcopy(self.config)
    if resolution:
      config.results.resolution = resolution
      config.results.mesh_resolution = resolution
    if texture_size is not None:
      config.results.texture_size = texture_size
    return maker(
      self.workdir, self._representation(quality), self.params, config
    )

  def __repr__(self) -> str:
    return (
      f'<Run {str(self.objective)!r}: step {self.step} of '
      f'{self.config.num_steps} in {self.workdir}>'
    )

  def _repr_html_(self) -> str:
    """Returns what a notebook shows: a picture, and where the run is."""
    caption = html.escape(
      f'{self.objective}: step {self.step} of {self.config.num_steps}, '
      f'{self.workdir}'
    )
    for name in _PICTURES:
      path = self.workdir / name
      if path.is_file():
        data = base64.b64encode(path.read_bytes()).decode()
        kind = path.suffix.removeprefix('.')
        return (
          f'<figure><img alt="{caption}" '
          f'src="data:image/{kind};base64,{data}">'
          f'<figcaption>{caption}</figcaption></figure>'
        )
    return f'<p>{caption}; no picture yet</p>'


def _angles(view: str | tuple[float, float]) -> tuple[float, float]:
  """Returns azimuth and elevation in degrees."""
  if isinstance(view, str):
    if view not in NAMED_VIEWS:
      raise errors.UserError(names.unknown('view', view, NAMED_VIEWS, 'Views'))
    return NAMED_VIEWS[view]
  try:
    azimuth, elevation = view
    return float(azimuth), float(elevation)
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"view is {view!r}; expected a name such as 'front', or (azimuth, "
      'elevation) in degrees.'
    ) from error


def open_run(
  workdir: str | os.PathLike,
  *,
  representation: representation_lib.Representation | None = None,
) -> Run:
  """Opens the folder of a run, also of one that is still going.

  Args:
    workdir: the folder.
    representation: the one that the run was given, if it was given one.

  Raises:
    FileNotFoundError: the folder holds no run.
    UserError: its configuration cannot be read.
  """
  return Run(workdir, representation)
