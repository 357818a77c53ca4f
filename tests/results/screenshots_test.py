"""The report and the sweep's page in a real browser, by their pixels.

`MMDIST_SHOTS=FOLDER pytest tests/results/screenshots_test.py` leaves the
pictures there, to be looked at.
"""

import os
import pathlib

import numpy as np
from PIL import Image
import pytest
import trimesh

from mmdist.core import tables
from mmdist.results import mesh_viewer
from mmdist.results import report as report_lib
from mmdist.sweeps import page as page_lib
from tests.results import chromium

pytestmark = [chromium.needs_chromium, pytest.mark.slow]
WIDTH, HEIGHT = 1200, 900


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  with chromium.browser(tmp_path_factory.mktemp('chromium')) as opened:
    yield opened


@pytest.fixture
def shots(tmp_path):
  folder = pathlib.Path(os.environ.get('MMDIST_SHOTS', tmp_path))
  folder.mkdir(exist_ok=True)
  return folder


def ball() -> mesh_viewer.ViewedMesh:
  """A ball, red at x > 0 and blue elsewhere."""
  sphere = trimesh.creation.icosphere(subdivisions=3)
  is_right = sphere.vertices[:, :1] > 0
  return mesh_viewer.ViewedMesh(
    vertices=np.asarray(sphere.vertices),
    normals=np.asarray(sphere.vertex_normals),
    colors=np.where(is_right, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9]),
    faces=np.asarray(sphere.faces),
  )


def metrics(num_steps: int) -> list[dict[str, float]]:
  rng = np.random.default_rng(0)
  rows = []
  for step in range(num_steps):
    happy = 0.5 + 0.3 * np.sin(step / 20) + 0.1 * rng.standard_normal()
    rows.append(
      {
        'step': step,
        'loss': 1 / (1 + step / 30) + 0.1 * rng.random(),
        'share/generic/0': happy,
        'share/generic/1': 1 - happy,
        'saturation': 0.4 + 0.05 * rng.random(),
        'color/red': 0.6,
        'color/green': 0.4,
        'color/blue': 0.2,
      }
    )
  return rows


def write_report(folder: pathlib.Path) -> pathlib.Path:
  picture = folder / 'turntable.webp'
  Image.new('RGB', (64, 32), (40, 160, 80)).save(picture)
  columns = ('concept', 'weight')
  rows = ({'concept': 'happy', 'weight': 1.0}, {'concept': 'sad', 'weight': -1})
  report = report_lib.Report(
    title='1 a portrait of a happy man - 1 a portrait of a sad man',
    facts={'steps': '300', 'command': 'mmdist optimize ' + '--flag=x ' * 60},
    pictures={'Turntable': picture},
    downloads={},
    metrics=metrics(300),
    config={'prompt': 'x' * 300},
    concepts=tables.Table(columns, rows),
    labels={'generic/0': 'generic: happy', 'generic/1': 'generic: sad'},
    mesh=ball(),
  )
  report_lib.write_report(folder / 'report.html', report)
  return folder / 'report.html'


def canvas_box(page: chromium.Page) -> tuple[int, int, int, int]:
  box = page.run(
    '(b => [b.x, b.y, b.width, b.height])('
    "document.querySelector('canvas').getBoundingClientRect())"
  )
  return tuple(round(value) for value in box)


def pixels(path: pathlib.Path) -> np.ndarray:
  return np.asarray(Image.open(path).convert('RGB')).astype(int)


def is_red(image: np.ndarray) -> np.ndarray:
  return (image[..., 0] > image[..., 2] + 60) & (image[..., 1] < 90)


def is_blue(image: np.ndarray) -> np.ndarray:
  return (image[..., 2] > image[..., 0] + 60) & (image[..., 1] < 90)


def test_the_mesh_of_a_report_turns_with_the_mouse(page, shots, tmp_path):
  page.errors.clear()
  page.open(write_report(tmp_path), WIDTH, HEIGHT)
  page.wait_for("document.querySelector('canvas').dataset.drawn")
  x, y, width, height = canvas_box(page)
  page.screenshot(shots / 'report.png', whole=True)

  def seen(name):
    page.screenshot(shots / name)
    return pixels(shots / name)[y : y + height, x : x + width]

  before = seen('mesh_before.png')
  red, blue = is_red(before).mean(), is_blue(before).mean()
  # From the front, half a radian to the right: more of x > 0 than of x < 0.
  assert red > 1.3 * blue > 0.05
  # A quarter of a turn: 0.008 radians for each pixel.
  page.drag(x + width // 2, y + height // 2, -int(np.pi / 2 / 0.008), 0)
  page.wait_for(
    "document.querySelector('canvas').dataset.drawn.startsWith('2.0')"
  )
  after = seen('mesh_after.png')
  # Another quarter to the right: from behind, and mostly x > 0 still.
  assert is_red(after).mean() > is_blue(after).mean()
  assert np.abs(after - before).mean() > 5
  assert not page.errors


def test_the_shape_alone_is_grey(page, shots, tmp_path):
  page.open(write_report(tmp_path), WIDTH, HEIGHT)
  page.run("document.querySelector('#clay').click()")
  page.screenshot(shots / 'clay.png')
  x, y, width, height = canvas_box(page)
  shown = pixels(shots / 'clay.png')[y : y + height, x : x + width]
  assert np.ptp(shown, axis=-1).max() <= 3
  assert np.ptp(shown[..., 0]) > 100  # It is lit from one side.


@pytest.mark.parametrize('width', [1200, 500])
def test_a_report_is_no_wider_than_its_window(page, shots, tmp_path, width):
  page.errors.clear()
  page.open(write_report(tmp_path), width, HEIGHT)
  assert page.run('document.documentElement.scrollWidth') <= width
  assert page.run("document.querySelector('details').open") is False
  assert not page.errors


def test_texts_of_a_chart_do_not_overlap(page, tmp_path):
  page.open(write_report(tmp_path), WIDTH, HEIGHT)
  overlaps = page.run("""
    [...document.querySelectorAll('svg')].flatMap(svg => {
      const boxes = [...svg.querySelectorAll('text')].map(
        text => [text.textContent, text.getBoundingClientRect()]);
      return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
        .filter(([_, b]) => a.left < b.right && b.left < a.right &&
          a.top + 2 < b.bottom && b.top + 2 < a.bottom)
        .map(([other]) => `${one} / ${other}`));
    })
  """)
  assert overlaps == []


def write_sweep(folder: pathlib.Path) -> pathlib.Path:
  Image.new('RGB', (64, 64), 'grey').save(folder / 'sheet.png')
  rows = [
    {'name': f'cell_{value}', 'happy': value, 'seconds': None, 'error': ''}
    for value in (2.0, 10.0, 1.0)
  ]
  rows[2] |= {'error': 'a prior was lost ' * 20}
  page = page_lib.Page(
    title='happy x sad',
    summary='3 cells',
    columns=['name', 'happy', 'seconds', 'error'],
    rows=rows,
    sheet=folder / 'sheet.png',
    animations={},
    reports={},
    metrics={row['name']: metrics(60) for row in rows},
    common={'seed': 0},
    own={row['name']: {'concepts[0].weight': row['happy']} for row in rows},
  )
  page_lib.write(folder / 'index.html', page)
  return folder / 'index.html'


def test_a_click_sorts_a_sweep_by_numbers(page, shots, tmp_path):
  page.errors.clear()
  page.open(write_sweep(tmp_path), WIDTH, HEIGHT)
  shown = (
    "[...document.querySelectorAll('tbody tr')]"
    '.map(row => row.cells[1].dataset.value)'
  )
  page.run("document.querySelectorAll('th')[1].click()")
  assert page.run(shown) == ['1.0', '2.0', '10.0']
  page.run("document.querySelectorAll('th')[1].click()")
  assert page.run(shown) == ['10.0', '2.0', '1.0']
  page.screenshot(shots / 'sweep.png', whole=True)
  assert page.run('document.documentElement.scrollWidth') <= WIDTH
  assert not page.errors
