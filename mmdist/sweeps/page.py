"""One HTML page about a sweep: sheet, table, turntables, curves, settings.

It lies in the sweep's folder and shows the files of the cells beside it; the
sheet and the curves are inside the page. Every text is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import html
import os
import pathlib
from typing import Any
from urllib import parse

from mmdist.core import atomic
from mmdist.core import strict_json
from mmdist.core import tables
from mmdist.results import charts
from mmdist.results import curves

# Sorts by a column, numbers as numbers; a second click turns it round.
_SCRIPT = """
document.querySelectorAll('th').forEach((head, column) => {
  head.addEventListener('keydown', event => {
    if (event.key === 'Enter') head.click();
  });
  head.addEventListener('click', () => {
    const body = head.closest('table').tBodies[0];
    const down = head.dataset.sorted === 'up';
    document.querySelectorAll('th').forEach(h => delete h.dataset.sorted);
    head.dataset.sorted = down ? 'down' : 'up';
    const key = row => row.cells[column].dataset.value;
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (x === '' || y === '') return (x === '') - (y === '');
      const numbers = !isNaN(x) && !isNaN(y);
      const order = numbers ? x - y : x.localeCompare(y);
      return down ? -order : order;
    };
    [...body.rows].sort(compare).forEach(row => body.append(row));
  });
});
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 img-src data: file: 'self'; style-src 'unsafe-inline';
 script-src 'sha256-{script_hash}'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 84rem; padding: 0 1.5rem; color: #222; background: #fff; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }}
h2 {{ font-size: 1.2rem; margin: 2rem 0 .6rem; }}
h3 {{ font-size: 1rem; margin: 1rem 0 .3rem; }}
img {{ max-width: 100%; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2rem .7rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #ddd; }}
tbody tr:hover {{ background: #f4f7fa; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
th {{ cursor: pointer; }}
/* Every head has an arrow, so that no column moves when it is sorted. */
th::after {{ content: ' \\2195'; color: #bbb; }}
th[data-sorted=up]::after {{ content: ' \\2191'; color: inherit; }}
th[data-sorted=down]::after {{ content: ' \\2193'; color: inherit; }}
.failed {{ color: #b00020; white-space: normal; }}
.wall, .charts {{ display: grid; gap: 1.2rem; }}
.wall {{ grid-template-columns:
  repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }}
.wall figure {{ margin: 0; }}
.wall img {{ display: block; width: 100%; border-radius: 4px; }}
figcaption {{ color: #555; font-size: .85rem; overflow-wrap: anywhere; }}
.charts {{ grid-template-columns:
  repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }}
.chart {{ width: 100%; height: auto; }}
details {{ margin-top: 2rem; }}
summary {{ cursor: pointer; font-weight: 600; font-size: 1.2rem; }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: 1rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<script>{script}</script>
</body>
</html>
"""
# Metrics that have charts -> titles of the charts. Metrics of single concepts
# have none: their number is a place in a cell's own objective, where another
# cell may have another concept.
_CHARTS = {
  'loss': 'loss',
  'proxy_loss': 'loss of the proxy',
  'cotangent_norm': 'norm of the answer, dL/d image',
  'saturation': 'saturation of the head',
  'step_seconds': 'seconds per step',
}


@dataclasses.dataclass(frozen=True)
class Page:
  """What the page says.

  Attributes:
    title: the sweep, in one line.
    summary: a few words on how many cells there are and how they ended.
    columns: of the table.
    rows: per cell, column -> value; 'name' is the cell's, 'error' what failed.
    sheet: the contact sheet's file.
    animations: cell -> path of its turntable, relative to the page.
    reports: cell -> path of its report, relative to the page.
    metrics: cell -> rows of numbers with their `step`.
    common: the settings that all cells have.
    own: cell -> the settings in which cells differ, as this one has them.
  """

  title: str
  summary: str
  columns: Sequence[str]
  rows: Sequence[Mapping[str, Any]]
  sheet: pathlib.Path | None
  animations: Mapping[str, str]
  reports: Mapping[str, str]
  metrics: Mapping[str, Sequence[Mapping]]
  common: Mapping[str, Any]
  own: Mapping[str, Mapping[str, Any]]


def to_html(page: Page) -> str:
  """Returns the page as text."""
  digest = hashlib.sha256(_SCRIPT.encode()).digest()
  parts = [
    f'<p>{html.escape(page.summary)}</p>',
    _sheet(page.sheet),
    _table(page),
    _turntables(page.animations),
    _curves(page.metrics),
    _own_settings(page.own),
    '<details><summary>What all cells have in common</summary>'
    f'{_settings(page.common)}</details>',
  ]
  return _PAGE.format(
    title=html.escape(page.title),
    body='\n'.join(part for part in parts if part),
    script=_SCRIPT,
    script_hash=base64.b64encode(digest).decode(),
  )


def write(path: str | os.PathLike, page: Page) -> None:
  """Writes the page, all of it or nothing."""
  atomic.write_text(path, to_html(page))


def _sheet(path: pathlib.Path | None) -> str:
  if path is None:
    return ''
  data = base64.b64encode(path.read_bytes()).decode()
  return f'<p><img alt="contact sheet" src="data:image/png;base64,{data}"></p>'


def _table(page: Page) -> str:
  heads = ''.join(_head(page, name) for name in page.columns)
  rows = []
  for row in page.rows:
    cells = ''.join(_cell(page, row, column) for column in page.columns)
    rows.append(f'<tr>{cells}</tr>')
  return (
    '<h2>Cells</h2><div class="scroll"><table><thead><tr>'
    f'{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
  )


def _head(page: Page, column: str) -> str:
  values = [row[column] for row in page.rows if row.get(column) is not None]
  # Above numbers, as far to the right as they are.
  is_number = values and all(map(tables.is_number, values))
  kind = ' class="number"' if is_number else ''
  return f'<th{kind} tabindex="0">{html.escape(column)}</th>'


def _cell(page: Page, row: Mapping[str, Any], column: str) -> str:
  value = row.get(column)
  if value is None or value == '':
    return '<td data-value=""></td>'
  is_number = tables.is_number(value)
  text = html.escape(tables.format_value(value))
  if column == 'name' and value in page.reports:
    text = f'<a href="{parse.quote(page.reports[value])}">{text}</a>'
  kind = 'number' if is_number else 'failed' if column == 'error' else ''
  return (
    f'<td class="{kind}" data-value="{html.escape(str(value))}">{text}</td>'
  )


def _turntables(animations: Mapping[str, str]) -> str:
  if not animations:
    return ''
  figures = ''.join(
    f'<figure><img loading="lazy" alt="{html.escape(name)}" '
    f'src="{parse.quote(path)}"><figcaption>{html.escape(name)}</figcaption>'
    '</figure>'
    for name, path in animations.items()
  )
  return f'<h2>Turntables</h2><div class="wall">{figures}</div>'


def _curves(metrics: Mapping[str, Sequence[Mapping]]) -> str:
  found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _CHARTS}
  for cell, rows in metrics.items():
    for name, series in curves.group_series(rows).items():
      for prior, points in series.items():
        is_part = '/' in prior or (name == 'loss' and prior)
        if name in _CHARTS and not is_part:
          found[name].setdefault(prior, {})[cell] = points
  drawn = [
    charts.draw_chart(f'{_CHARTS[name]}{": " * bool(prior)}{prior}', series)
    for name, by_prior in found.items()
    for prior, series in by_prior.items()
  ]
  if not drawn:
    return ''
  return f'<h2>Curves</h2><div class="charts">{"".join(drawn)}</div>'


def _own_settings(own: Mapping[str, Mapping[str, Any]]) -> str:
  if not any(own.values()):
    return ''
  blocks = ''.join(
    f'<h3>{html.escape(name)}</h3>{_settings(settings)}'
    for name, settings in own.items()
  )
  return f'<details><summary>In what cells differ</summary>{blocks}</details>'


def _settings(settings: Mapping[str, Any]) -> str:
  text = strict_json.dumps(settings, indent=2, ensure_ascii=False)
  return f'<pre>{html.escape(text)}</pre>'
