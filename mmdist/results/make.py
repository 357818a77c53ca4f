"""Everything a run leaves for people, made in its folder.

Each maker can run alone (`mmdist.results.remake`); `make_all` runs them all at
the end of an optimisation.
"""

from collections.abc import Mapping
import logging
import os
import pathlib

import numpy as np

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import atomic
from mmdist.core import representation as representation_lib
from mmdist.nerf import images
from mmdist.objectives import concept
from mmdist.results import curves
from mmdist.results import report as report_lib
from mmdist.results import triangle_mesh
from mmdist.results import turntable

# What a run leaves for people: what it is called -> its file.
FILES = {
  'video': 'turntable.mp4',
  'animation': 'turntable.webp',
  'sheet': 'sheet.png',
  'mesh': 'mesh.glb',
  'report': 'report.html',
}


def make_turntable(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  """Writes `turntable.mp4` and `turntable.webp`: colour left, normals right."""
  settings = run_config.results
  views = orbits.turntable(settings.turntable_views)
  pictures = _render(representation, params, views, settings.resolution)
  frames = turntable.side_by_side(pictures['rgb'], pictures['normals'])
  paths = {
    'video': workdir / 'turntable.mp4',
    'animation': workdir / 'turntable.webp',
  }
  turntable.write_mp4(paths['video'], frames)
  turntable.write_webp(paths['animation'], frames)
  return paths


def make_sheet(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  """Writes `sheet.png`: named views, colour above normals."""
  views = turntable.sheet_views()
  resolution = run_config.results.resolution
  pictures = _render(representation, params, views, resolution)
  path = workdir / 'sheet.png'
  turntable.write_sheet(path, pictures['rgb'], pictures['normals'], views.words)
  return {'sheet': path}


def make_mesh(
  workdir: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
) -> Mapping[str, pathlib.Path]:
  """Writes `mesh.glb`.

  Raises:
    triangle_mesh.NoSurfaceError: if there is nothing solid to mesh.
  """
  resolution = run_config.results.mesh_resolution
  path = workdir / 'mesh.glb'
  mesh = triangle_mesh.make_mesh(representation, params, resolution)
  triangle_mesh.write_glb(path, mesh)
  return {'mesh': path}


def make_all(
  workdir: str | os.PathLike,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  run_config: schema.RunConfig,
  metrics_path: str | os.PathLike,
) -> Mapping[str, pathlib.Path]:
  """Makes every result of a run in its folder.

  An avatar without a surface, of a run that was stopped early, has no mesh;
  everything else is made all the same, and the report says so.

  Args:
    workdir: the run's folder; made if it is not there.
    representation: see `core.representation`.
    params: its parameters.
    run_config: the run's configuration.
    metrics_path: JSON lines, one per step; may be missing.

  Returns:
    What was made -> where: video, animation, sheet, mesh, config, report.
  """
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  paths = {'config': workdir / 'config.json'}
  # As `mmdist.run.workdir` writes it at the start of a run.
  atomic.write_text(paths['config'], serialization.to_json(run_config))
  avatar = (workdir, representation, params, run_config)
  paths.update(make_turntable(*avatar))
  paths.update(make_sheet(*avatar))
  facts = _facts(run_config)
  try:
    paths.update(make_mesh(*avatar))
  except triangle_mesh.NoSurfaceError as error:
    logging.warning('No mesh: %s', error)
    facts['mesh'] = f'none: {error}'
  paths['report'] = workdir / 'report.html'
  report = _report(run_config, facts, paths, metrics_path)
  report_lib.write_report(paths['report'], report)
  return paths


def _facts(run_config: schema.RunConfig) -> dict[str, str]:
  """Returns what a run was asked, in short lines."""
  terms = concept.weighted_texts(run_config)
  wanted = [f'{weight:g} {text}' for text, weight in terms if weight > 0]
  unwanted = [f'{-weight:g} {text}' for text, weight in terms if weight < 0]
  facts = {}
  if run_config.concepts:
    facts['asked for'] = '; '.join(wanted) or 'nothing'
    if unwanted:
      facts['asked to be absent'] = '; '.join(unwanted)
    facts['composed by'] = run_config.mode
  return facts | {
    'steps': str(run_config.num_steps),
    'seed': str(run_config.seed),
  }


def _report(
  run_config: schema.RunConfig,
  facts: Mapping[str, str],
  paths: Mapping[str, pathlib.Path],
  metrics_path: str | os.PathLike,
) -> report_lib.Report:
  """Gathers the page from what was made."""
  metrics_path = pathlib.Path(metrics_path)
  has_metrics = metrics_path.exists()
  return report_lib.Report(
    title=concept.describe(concept.weighted_texts(run_config)),
    facts=facts,
    pictures={
      'Turntable: colour and world-space normals': paths['animation'],
      'Views': paths['sheet'],
    },
    downloads={k: paths[k] for k in ('video', 'mesh') if k in paths},
    metrics=curves.read_metrics(metrics_path) if has_metrics else (),
    config=serialization.to_dict(run_config),
  )


def _render(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  views: orbits.Views,
  resolution: int,
) -> dict[str, np.ndarray]:
  return images.render_images(
    representation, params, views, resolution, np.array(turntable.BACKGROUND)
  )
