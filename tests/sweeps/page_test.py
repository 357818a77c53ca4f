"""The page of a sweep, read back as a reader of its text would."""

import dataclasses
import html
import json
import pathlib
import re
from urllib import parse

from PIL import Image
import pytest

from mmdist.sweeps import page as page_lib

METRICS = {
  'a': [{'step': i, 'loss': 1.0, 'proxy_loss/generic': 0.5} for i in range(9)],
  'b': [{'step': i, 'loss': 2.0, 'loss/generic': 1.0} for i in range(9)],
}


@pytest.fixture
def page():
  return page_lib.Page(
    title='happy & sad',
    summary='2 cells: 2 finished.',
    columns=['name', 'happy', 'error'],
    rows=[
      {'name': 'a', 'happy': 0.5, 'error': ''},
      {'name': 'b', 'happy': 1.0, 'error': 'no <such> word'},
    ],
    sheet=None,
    animations={},
    reports={},
    metrics={},
    common={'mode': 'sum'},
    own={},
  )


def shown(page, **changes) -> str:
  return page_lib.to_html(dataclasses.replace(page, **changes))


def blocks(text: str, summary: str) -> dict[str, dict]:
  """Returns heading -> settings of what unfolds below a summary."""
  found = re.search(
    rf'<details><summary>{summary}</summary>(.*?)</details>', text, re.DOTALL
  )
  if found is None:
    return {}
  parts = re.findall(
    r'(?:<h3>([^<]*)</h3>)?<pre>([^<]*)</pre>', found[1], re.DOTALL
  )
  return {name: json.loads(html.unescape(body)) for name, body in parts}


def test_each_cell_says_in_what_it_differs(page):
  own = {
    'a': {'concepts[0].text': 'a <b>bold</b> man', 'seed': 0},
    'b': {'seed': 1},
  }
  text = shown(page, own=own)
  assert blocks(text, 'In what cells differ') == own
  assert blocks(text, 'What all cells have in common') == {'': {'mode': 'sum'}}
  assert '<b>bold' not in text


def test_cells_that_differ_in_nothing_have_no_such_list(page):
  assert 'In what cells differ' not in shown(page, own={'a': {}, 'b': {}})


def test_a_turntable_stands_over_the_name_of_its_cell(page):
  text = shown(
    page, animations={'a': 'cells/a/t.webp', 'b': 'cells/b #/t.webp'}
  )
  figures = re.findall(
    r'<figure><img [^>]*src="([^"]*)"><figcaption>([^<]*)</figcaption>', text
  )
  assert [(parse.unquote(path), name) for path, name in figures] == [
    ('cells/a/t.webp', 'a'),
    ('cells/b #/t.webp', 'b'),
  ]
  assert '#' not in figures[1][0]  # It would be an anchor.
  assert 'Turntables' not in shown(page)


def charts(text: str) -> dict[str, list[str]]:
  """Returns title -> names in the legend, of each chart."""
  found = {}
  for svg in re.findall(r'<svg class="chart".*?</svg>', text, re.DOTALL):
    title = re.search(r'font-weight="600">([^<]*)<', svg)[1]
    found[title] = re.findall(r'text-anchor="start">([^<]*)<', svg)
  return found


def test_a_chart_has_a_curve_of_each_cell_that_has_the_number(page):
  found = charts(shown(page, metrics=METRICS))
  # A part of the loss is another thing in another cell.
  assert found == {'loss': ['a', 'b'], 'loss of the proxy: generic': ['a']}
  assert 'Curves' not in shown(page)


def test_curves_lie_as_high_as_their_numbers(page):
  svg = re.search(r'<svg.*?</svg>', shown(page, metrics=METRICS), re.DOTALL)[0]
  heights = [
    {float(point.partition(',')[2]) for point in points.split()}
    for points in re.findall(r'class="smooth" points="([^"]*)"', svg)
  ]
  # The first cell's curve is drawn last, above the others. Pixels count down.
  (above,), (below,) = heights
  assert above < below


def test_a_table_links_reports_and_marks_what_failed(page):
  text = shown(page, reports={'a': 'cells/a/report.html'})
  assert '<a href="cells/a/report.html">a</a>' in text
  assert text.count('<a href') == 1
  assert '<td class="failed" data-value="no &lt;such&gt; word">' in text
  assert '<title>happy &amp; sad</title>' in text


def test_a_page_holds_its_sheet(page, tmp_path: pathlib.Path):
  sheet = tmp_path / 'sheet.png'
  Image.new('RGB', (4, 4)).save(sheet)
  page_lib.write(
    tmp_path / 'index.html', dataclasses.replace(page, sheet=sheet)
  )
  sheet.unlink()
  assert 'src="data:image/png;base64,' in (tmp_path / 'index.html').read_text()
