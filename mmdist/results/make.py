"""Everything a run leaves for people, made in its folder.

Each maker can run alone (`mmdist.results.remake`); `make_all` runs them all but
`make_splats` at the end of an optimisation.
"""

from collections.abc import Mapping
import dataclasses
import logging
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import atomic
from mmdist.core import representation as representation_lib
from mmdist.nerf import images
from mmdist.objectives import concept
from mmdist.results import ledger_table
from mmdist.results import mesh_viewer
from mmdist.results import report as report_lib
from mmdist.results import splats as splats_lib
from mmdist.results import summary
from mmdist.results import turntable
from mmdist.run import metrics_file
from mmdist.run import sessions
from mmdist.run import workdir as workdir_lib

if TYPE_CHECKING:  # Not at run time: importing it takes a second.
  from mmdist.results import triangle_mesh

# What a run leaves for people: what it is called -> its file. The splats are
# made only where somebody asks for them.
FILES = {
  'video': 'turntable.mp4',
  'animation': 'turntable.webp',
  'sheet': 'sheet.png',
  'mesh': 'mesh.glb',
  'mesh_page': 'mesh.html',
  'splats': 'splats.ply',
  'report': 'report.html',
}
_MESH_FILES = ('mesh', 'mesh_page')


def make_turntable(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  """Writes `turntable.mp4` and `turntable.webp`: colour left, normals right.

  Without ffmpeg there is no video; see `turntable.write_film`.
  """
  settings = run_config.results
  views = orbits.turntable(settings.turntable_views)
  pictures = render(representation, params, views, settings.resolution)
  frames = turntable.side_by_side(pictures['rgb'], pictures['normals'])
  paths = {name: workdir / FILES[name] for name in ('video', 'animation')}
  return turntable.write_film(paths, frames)


def make_sheet(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  """Writes `sheet.png`: named views, colour above normals."""
  views = turntable.sheet_views()
  resolution = run_config.results.resolution
  pictures = render(representation, params, views, resolution)
  path = workdir / FILES['sheet']
  turntable.write_sheet(path, pictures['rgb'], pictures['normals'], views.words)
  return {'sheet': path}


def make_mesh(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  """Writes `mesh.glb`, and `mesh.html` that shows it.

  Raises:
    triangle_mesh.NoMeshError: if there is nothing solid to mesh, or no memory
      for its textures.
  """
  _write_mesh(workdir, representation, params, run_config)
  return {name: workdir / FILES[name] for name in _MESH_FILES}


def _write_mesh(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> 'triangle_mesh.TriangleMesh':
  # Here, because a run that begins need not wait until they are imported.
  from mmdist.results import mesh_page
  from mmdist.results import triangle_mesh

  settings = run_config.results
  mesh = triangle_mesh.make_mesh(
    representation, params, settings.mesh_resolution, settings.texture_size
  )
  triangle_mesh.write_glb(workdir / FILES['mesh'], mesh)
  mesh_page.write(workdir / FILES['mesh_page'], mesh)
  return mesh


def make_splats(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
  num_splats: int = splats_lib.NUM_SPLATS,
) -> Mapping[str, pathlib.Path]:
  """Writes `splats.ply`: the surface of `make_mesh` as flat Gaussians.

  Raises:
    triangle_mesh.NoSurfaceError: if nothing is solid.
    UserError: there cannot be so many Gaussians.
  """
  path = workdir / FILES['splats']
  resolution = run_config.results.mesh_resolution
  made = splats_lib.make_splats(representation, params, resolution, num_splats)
  splats_lib.write(path, made)
  return {'splats': path}


def make_all(
  workdir: str | os.PathLike,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
  metrics_path: str | os.PathLike,
  judgement: summary.Judgement | None = None,
) -> Mapping[str, pathlib.Path]:
  """Makes every result of a run, except its splats, in its folder.

  An avatar without a surface, of a run that was stopped early, has no mesh, and
  where memory is short, or the surface cannot be closed, there is none either;
  everything else is made all the same, and the report says so.

  Args:
    workdir: the run's folder; made if it is not there.
    representation: see `core.representation`.
    params: its parameters.
    run_config: the run's configuration; its `results` say how large things
      are. It is written to `config.json` only if there is none.
    metrics_path: JSON lines, one per step; may be missing.
    judgement: of the avatar, for the report.

  Returns:
    What was made -> where: video, animation, sheet, mesh, mesh_page, config,
    report.
    Without ffmpeg there is no video.
  """
  from mmdist.results import closed_mesh
  from mmdist.results import triangle_mesh

  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  paths = {'config': workdir / workdir_lib.CONFIG_NAME}
  # A run has written its own when it began. `mmdist view --resolution` comes
  # here with other `results`, which are not to become the run's.
  if not paths['config'].exists():
    atomic.write_text(paths['config'], serialization.to_json(run_config))
  avatar = (workdir, representation, params, run_config)
  paths.update(make_turntable(*avatar))
  paths.update(make_sheet(*avatar))
  viewed, missing = None, {}
  if 'video' not in paths:
    missing['video'] = turntable.NO_VIDEO
  try:
    mesh = _write_mesh(*avatar)
    paths.update({name: workdir / FILES[name] for name in _MESH_FILES})
    viewed = triangle_mesh.make_viewed(representation, params, mesh.surface)
  except (triangle_mesh.NoMeshError, closed_mesh.NotClosedError) as error:
    logging.warning('No mesh: %s', error)
    missing['mesh'] = f'none: {error}'
  paths['report'] = workdir / FILES['report']
  report = _report(run_config, paths, metrics_path, viewed, judgement)
  report = dataclasses.replace(report, facts={**report.facts, **missing})
  report_lib.write_report(paths['report'], report)
  return paths


def _report(
  run_config: schema.RunConfig,
  paths: Mapping[str, pathlib.Path],
  metrics_path: str | os.PathLike,
  mesh: mesh_viewer.ViewedMesh | None,
  judgement: summary.Judgement | None,
) -> report_lib.Report:
  """Gathers the page from what was made."""
  metrics = metrics_file.read(pathlib.Path(metrics_path))
  known = sessions.read(paths['config'].parent)
  return report_lib.Report(
    title=concept.title_of(run_config),
    facts=summary.facts(run_config, metrics, known, judgement),
    pictures={
      'Turntable: colour and world-space normals': paths['animation'],
      'Views': paths['sheet'],
    },
    downloads={k: paths[k] for k in ('video', *_MESH_FILES) if k in paths},
    metrics=metrics,
    config=serialization.to_dict(run_config),
    concepts=summary.concepts(run_config, judgement),
    ledger=ledger_table.make(metrics, run_config),
    labels=ledger_table.labels(run_config),
    mesh=mesh,
  )


def render(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  views: orbits.Views,
  resolution: int,
) -> dict[str, np.ndarray]:
  """Renders views over the grey of all results; see `images.render_images`."""
  return images.render_images(
    representation, params, views, resolution, np.array(turntable.BACKGROUND)
  )
