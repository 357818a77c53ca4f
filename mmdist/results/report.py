"""One self-contained HTML page about a run.

Owns the page. Everything it shows is inside it: pictures and the mesh as
base64, curves as inline SVG, so that the page can be mailed. Every text is
escaped; a prompt is a stranger's text. The only script is the mesh viewer's,
and a browser is told its hash.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import html
import mimetypes
import os
import pathlib
from urllib import parse

from mmdist.core import atomic
from mmdist.core import strict_json
from mmdist.core import tables
from mmdist.results import mesh_viewer
from mmdist.results import run_charts

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{policy}">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 84rem; padding: 0 1.5rem; color: #222; background: #fff; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }}
h2 {{ font-size: 1.2rem; margin: 2rem 0 .6rem; }}
figure {{ margin: 0; }}
img {{ display: block; max-width: 100%; }}
figcaption, dt {{ color: #666; }}
figcaption {{ font-size: .85rem; margin-top: .3rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr;
  gap: .1rem 1.2rem; margin: 0 0 1rem; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
.stage {{ display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: minmax(0, 1fr) minmax(0, 2fr); }}
.stage .only {{ grid-column: 1 / -1; max-width: 60rem; }}
.stage img {{ width: 100%; border-radius: 4px; }}
canvas {{ display: block; width: 100%; aspect-ratio: 1; cursor: grab;
  touch-action: none; border-radius: 4px; }}
canvas:active {{ cursor: grabbing; }}
.views {{ margin-top: 1.2rem; }}
.views img {{ width: 100%; }}
.charts {{ display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }}
.chart {{ width: 100%; height: auto; }}
.scroll {{ overflow-x: auto; margin-bottom: 1.2rem; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2rem .8rem .2rem 0; text-align: left;
  border-bottom: 1px solid #ddd; }}
th {{ font-weight: 600; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
details {{ margin-top: 2rem; }}
summary {{ cursor: pointer; font-weight: 600; font-size: 1.2rem; }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: 1rem; }}
@media (max-width: 50rem) {{
  .stage {{ grid-template-columns: minmax(0, 1fr); }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


@dataclasses.dataclass(frozen=True)
class Report:
  """What a page says.

  Attributes:
    title: what was asked, in one line.
    facts: short lines, name -> value, e.g. steps and seed.
    pictures: caption -> picture file, embedded by its bytes; the first is the
      turntable and stands beside the mesh.
    downloads: name -> file beside the page, linked by its name only.
    metrics: rows of numbers with their `step`.
    config: the run's configuration, anything that JSON holds.
    concepts: what was asked, if it was more than one sentence.
    ledger: means over the run, by prior and concept.
    labels: curve -> what it is called, 'generic/0' -> 'generic: happy'.
    mesh: to be turned with the mouse; None shows none.
  """

  title: str
  facts: Mapping[str, str]
  pictures: Mapping[str, pathlib.Path]
  downloads: Mapping[str, pathlib.Path]
  metrics: Sequence[Mapping]
  config: Mapping
  concepts: tables.Table | None = None
  ledger: tables.Table | None = None
  labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
  mesh: mesh_viewer.ViewedMesh | None = None


def to_html(report: Report) -> str:
  """Returns the page as text."""
  grouped = run_charts.group(report.metrics)
  body = [
    _table(report.concepts),
    _facts(report.facts),
    _stage(report),
    _downloads(report.downloads),
    _ledger(report, grouped),
    _charts('Curves', run_charts.draw_others(grouped)),
    _config(report.config),
  ]
  policy = ''
  if report.mesh is not None:
    script = mesh_viewer.SCRIPT
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"; script-src 'sha256-{digest}'"
    body.append(f'<script>{script}</script>')
  return _PAGE.format(
    title=html.escape(report.title),
    body='\n'.join(part for part in body if part),
    policy=policy,
  )


def write_report(path: str | os.PathLike, report: Report) -> None:
  """Writes the page, all of it or nothing."""
  atomic.write_text(path, to_html(report))


def _facts(facts: Mapping[str, str]) -> str:
  rows = [
    f'<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>'
    for name, value in facts.items()
  ]
  return f'<dl>{"".join(rows)}</dl>'


def _table(table: tables.Table | None) -> str:
  if table is None or not len(table):
    return ''
  return f'<div class="scroll">{table.to_html()}</div>'


def _stage(report: Report) -> str:
  """Puts the mesh beside the first picture, and the others below."""
  figures = [_figure(*picture) for picture in report.pictures.items()]
  if not figures and report.mesh is None:
    return ''
  first, others = figures[:1], figures[1:]
  if report.mesh is not None:
    first.insert(0, mesh_viewer.figure(report.mesh))
  else:
    first = [f'<div class="only">{figure}</div>' for figure in first]
  stage = f'<div class="stage">{"".join(first)}</div>'
  return stage + ''.join(f'<div class="views">{f}</div>' for f in others)


def _figure(caption: str, path: pathlib.Path) -> str:
  kind = mimetypes.guess_type(path.name)[0] or 'image/webp'
  data = base64.b64encode(path.read_bytes()).decode()
  caption = html.escape(caption)
  return (
    f'<figure><img alt="{caption}" src="data:{kind};base64,{data}">'
    f'<figcaption>{caption}</figcaption></figure>'
  )


def _downloads(downloads: Mapping[str, pathlib.Path]) -> str:
  if not downloads:
    return ''
  links = [
    # Quoted, since a name with a colon or a slash would be read as an address.
    f'<a href="{parse.quote(path.name, safe="")}">'
    f'{html.escape(name).replace("_", " ")}</a>'
    for name, path in downloads.items()
  ]
  return f'<p>Beside this page: {", ".join(links)}.</p>'


def _ledger(report: Report, grouped: run_charts.Grouped) -> str:
  """Returns the table and the charts of what each concept did."""
  drawn = run_charts.draw_ledger(grouped, report.labels)
  table = _table(report.ledger) if report.metrics else ''
  return _charts('Ledger', drawn, table)


def _charts(title: str, drawn: Sequence[str], above: str = '') -> str:
  if not drawn and not above:
    return ''
  return f'<h2>{title}</h2>\n{above}<div class="charts">{"".join(drawn)}</div>'


def _config(config: Mapping) -> str:
  text = html.escape(strict_json.dumps(config, indent=2, ensure_ascii=False))
  return (
    f'<details><summary>Configuration</summary>\n<pre>{text}</pre></details>'
  )
