"""One self-contained HTML page about a run.

Owns the page. Everything it shows is inside it: pictures as base64, curves as
inline SVG, so that the page can be mailed. Every text is escaped; a prompt is
a stranger's text.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import html
import json
import mimetypes
import os
import pathlib
from urllib import parse

from mmdist.core import atomic
from mmdist.results import curves

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; color: #222; background: #fff; }}
figure {{ margin: 0 0 1.5rem; }}
img {{ max-width: 100%; }}
figcaption, dt {{ color: #666; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }}
dd {{ margin: 0; }}
.charts {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: 1rem; }}
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
    pictures: caption -> picture file, embedded by its bytes.
    downloads: name -> file beside the page, linked by its name only.
    metrics: rows of numbers with their `step`.
    config: the run's configuration, anything that JSON holds.
  """

  title: str
  facts: Mapping[str, str]
  pictures: Mapping[str, pathlib.Path]
  downloads: Mapping[str, pathlib.Path]
  metrics: Sequence[Mapping]
  config: Mapping


def to_html(report: Report) -> str:
  """Returns the page as text."""
  body = [_facts(report.facts)]
  body += [_figure(*picture) for picture in report.pictures.items()]
  body.append(_downloads(report.downloads))
  body.append(_charts(report.metrics))
  config = json.dumps(report.config, indent=2, ensure_ascii=False)
  body.append(f'<h2>Configuration</h2>\n<pre>{html.escape(config)}</pre>')
  return _PAGE.format(
    title=html.escape(report.title),
    body='\n'.join(part for part in body if part),
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
    f'<a href="{parse.quote(path.name, safe="")}">{html.escape(name)}</a>'
    for name, path in downloads.items()
  ]
  return f'<p>Beside this page: {", ".join(links)}.</p>'


def _charts(metrics: Sequence[Mapping]) -> str:
  charts = [
    curves.draw_chart(title, series)
    for title, series in curves.group_series(metrics).items()
  ]
  if not charts:
    return ''
  return f'<h2>Curves</h2>\n<div class="charts">{"".join(charts)}</div>'
