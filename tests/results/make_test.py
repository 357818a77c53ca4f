import json
import logging
import re
import sys

import imageio_ffmpeg
from PIL import Image
import pytest
import trimesh

from experiments import mix
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.results import make
from mmdist.results import mesh_viewer
from tests.results import sphere_field

EVIL = '</pre></svg><script>alert("x")</script>'


def evil_config():
  return small_config(
    prompt='a <b>bold</b> head',
    concepts=[schema.ConceptConfig(EVIL, priors=(EVIL,))],
    priors={EVIL: schema.PriorConfig(directory=EVIL, lora=EVIL)},
  )


def small_config(**fields):
  results = schema.ResultsConfig(
    turntable_views=4, resolution=24, mesh_resolution=24, texture_size=64
  )
  return schema.RunConfig(results=results, num_steps=2, **fields)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  metrics = workdir / 'metrics.jsonl'
  rows = {'step': 0, f'cotangent_norm/{EVIL}': 1.5, EVIL: 1.5, 'text': EVIL}
  metrics.write_text(json.dumps(rows) + '\n')
  return make.make_all(
    workdir / 'new',
    sphere_field.representation(),
    sphere_field.params_of(),
    evil_config(),
    metrics,
  )


def test_every_result_is_in_the_folder_and_nothing_else(made):
  (folder,) = {path.parent for path in made.values()}
  assert {path.name for path in folder.iterdir()} == {
    'turntable.mp4',
    'turntable.webp',
    'sheet.png',
    'mesh.glb',
    'mesh.html',
    'report.html',
    'config.json',
  }
  assert set(made.values()) == set(folder.iterdir())


def test_without_ffmpeg_all_else_is_made_and_the_report_says_so(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)  # Not installed.
  made = make.make_all(
    tmp_path,
    sphere_field.representation(),
    sphere_field.params_of(),
    small_config(),
    tmp_path / 'metrics.jsonl',
  )
  assert {'animation', 'sheet', 'mesh', 'report'} <= set(made)
  assert 'video' not in made
  assert (
    'no film: imageio-ffmpeg or its program is missing'
    in made['report'].read_text()
  )


def test_the_video_has_a_frame_per_view_colour_beside_normals(made):
  num_frames, _ = imageio_ffmpeg.count_frames_and_secs(str(made['video']))
  assert num_frames == 4
  reader = imageio_ffmpeg.read_frames(str(made['video']))
  assert next(reader)['size'] == (48, 24)
  reader.close()


def test_the_animation_has_a_frame_per_view(made):
  with Image.open(made['animation']) as animation:
    assert animation.n_frames == 4
    assert animation.size == (48, 24)


def test_the_mesh_is_closed(made):
  mesh = trimesh.load_mesh(made['mesh'])
  mesh.merge_vertices(merge_tex=True, merge_norm=True)
  assert mesh.is_watertight


def test_the_configuration_comes_back(made):
  restored = serialization.from_json(made['config'].read_text())
  assert restored == evil_config()


def test_the_report_shows_curves_and_an_escaped_prompt(made):
  text = made['report'].read_text()
  assert '<svg' in text
  assert '<b>bold' not in text and '&lt;b&gt;bold' in text


def test_nothing_of_a_configuration_is_a_tag_of_the_report(made):
  text = made['report'].read_text()
  assert text.count('<script') == text.count(mesh_viewer.SCRIPT) == 1
  assert text.count('</pre>') == 1
  assert text.count('<svg') == text.count('</svg>') == 2


def test_the_report_holds_the_mesh_and_a_ledger(made):
  text = made['report'].read_text()
  vertices = int(re.search(r'data-vertices="(\d+)"', text)[1])
  assert 0 < vertices <= len(trimesh.load_mesh(made['mesh']).vertices)
  assert '<h2>Ledger</h2>' in text and '<th>conflict</th>' in text


def test_an_avatar_without_a_surface_gets_a_report_that_says_so(
  tmp_path, caplog
):
  params = sphere_field.params_of(radius=-1.0)
  with caplog.at_level(logging.WARNING):
    paths = make.make_all(
      tmp_path,
      sphere_field.representation(),
      params,
      small_config(),
      tmp_path / 'absent.jsonl',
    )
  assert 'mesh' not in paths and not (tmp_path / 'mesh.glb').exists()
  assert 'the densest point has' in caplog.text
  assert 'the densest point has' in paths['report'].read_text()


def test_without_memory_for_textures_there_is_all_but_a_mesh(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(
    'mmdist.run.memory_estimate.available_memory', lambda: 1000
  )
  paths = make.make_all(
    tmp_path,
    sphere_field.representation(),
    sphere_field.params_of(),
    small_config(),
    tmp_path / 'absent.jsonl',
  )
  assert {'animation', 'sheet', 'report'} <= set(paths)
  assert not {'mesh', 'mesh_page'} & set(paths)
  assert 'a texture of 64 texels a side needs' in paths['report'].read_text()


@pytest.mark.parametrize(
  'preset, title, absent',
  [
    (
      'happy_sad',
      '0.6 a portrait of a happy man + 0.4 a portrait of a sad man',
      None,
    ),
    (
      'joker_minus_green',
      '1.5 a portrait of a joker - 1.2 a portrait of a man with green hair',
      'a portrait of a man with green hair',
    ),
  ],
)
def test_the_report_of_a_mix_says_what_is_mixed(
  tmp_path, preset, title, absent
):
  run = mix.get_config(preset)
  run.results = small_config().results
  paths = make.make_all(
    tmp_path,
    sphere_field.representation(),
    sphere_field.params_of(radius=-1.0),  # Without a mesh, to be quick.
    run,
    tmp_path / 'absent.jsonl',
  )
  text = paths['report'].read_text()
  assert f'<title>{title}</title>' in text and f'<h1>{title}</h1>' in text
  assert '<dt>composed by</dt><dd>sum</dd>' in text
  row = rf'<td>{absent}</td>.*?<td class="number">-1.2</td>'
  assert bool(re.search(row, text)) == (absent is not None)
