import base64
import dataclasses
import hashlib
import html.parser
import json
import re

import numpy as np
from PIL import Image
import pytest

from mmdist.config import schema
from mmdist.core import tables
from mmdist.results import ledger_table
from mmdist.results import mesh_viewer
from mmdist.results import report

EVIL = '<script>alert("x")</script><!--'
TAGS_WITHOUT_END = {'img', 'meta', 'link', 'br', 'input'}


class Page(html.parser.HTMLParser):
  """Collects a page's tags and checks that they nest."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.text = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in TAGS_WITHOUT_END:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


@pytest.fixture
def evil_report(tmp_path):
  picture = tmp_path / 'turntable.webp'
  Image.new('RGB', (4, 4), 'red').save(picture)
  return report.Report(
    title=EVIL,
    facts={EVIL: EVIL},
    pictures={EVIL: picture},
    downloads={
      EVIL: tmp_path / 'turntable.mp4',
      'mesh': tmp_path / 'javascript:alert(1)"><script>.glb',
    },
    metrics=[
      {'step': 0, f'cotangent_norm/{EVIL}': 1.0},
      {'step': 1, '<script>': 2.0},
    ],
    config={'prompt': EVIL, 'text': 'grüne Haut', EVIL: [EVIL]},
  )


def test_a_strangers_text_is_never_a_tag(evil_report):
  page = Page(report.to_html(evil_report))
  assert not page.open
  assert 'script' not in {tag for tag, _ in page.tags}
  # It is there, as text: title, heading, a fact and its name, a caption, a
  # download and a curve, which shows its name twice.
  assert page.text.count(EVIL) == 8
  assert '<script>' in page.text  # A chart's title.


def test_no_attribute_is_a_strangers(evil_report):
  page = Page(report.to_html(evil_report))
  for _, attributes in page.tags:
    assert not [name for name in attributes if name.startswith('on')]
  assert [a['alt'] for tag, a in page.tags if tag == 'img'] == [EVIL]


def test_a_browser_is_told_to_run_and_to_fetch_nothing(evil_report):
  page = Page(report.to_html(evil_report))
  (policy,) = [
    attributes['content']
    for _, attributes in page.tags
    if attributes.get('http-equiv') == 'Content-Security-Policy'
  ]
  assert policy.split('; ') == [
    "default-src 'none'",
    'img-src data:',
    "style-src 'unsafe-inline'",
  ]


def triangle():
  return mesh_viewer.ViewedMesh(
    np.eye(3), np.eye(3), np.eye(3), np.array([[0, 1, 2]])
  )


def test_with_a_mesh_the_viewers_script_alone_may_run(evil_report):
  shown = dataclasses.replace(evil_report, mesh=triangle())
  text = report.to_html(shown)
  (script,) = re.findall(r'<script>(.*?)</script>', text, re.DOTALL)
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert f"'; script-src 'sha256-{digest}'\">" in text
  assert [tag for tag, _ in Page(text).tags].count('script') == 1


def test_tables_are_a_strangers_text_too(evil_report):
  table = tables.Table((EVIL,), ({EVIL: EVIL},))
  shown = dataclasses.replace(evil_report, concepts=table, ledger=table)
  page = Page(report.to_html(shown))
  assert 'script' not in {tag for tag, _ in page.tags}
  assert page.text.count(EVIL) == 8 + 4


def test_curves_of_the_ledger_are_called_by_their_concepts(evil_report):
  rows = [
    {'step': step, 'share/p': 1.0, 'share/p/0': 0.4, 'share/p/1': 0.6}
    | {'cosine/p~q': 0.5, 'cosine/p': 0.25, 'norm': 1.0}
    for step in range(3)
  ]
  labels = {'p/0': 'p: happy', 'p/1': 'p: sad'}
  shown = dataclasses.replace(evil_report, metrics=rows, labels=labels)
  page = Page(report.to_html(shown))
  charts = ['share of the update', 'cosine with the sum']
  charts += ['cosine between priors', 'norm']
  assert [text for text in page.text if text in charts] == charts
  assert {'p: happy', 'p: sad', 'p~q'} <= set(page.text)


def page_of_steps(num_steps):
  """Returns the page of a run with two concepts, one of which fades."""
  run = schema.RunConfig(
    num_steps=num_steps or 1,
    concepts=[
      schema.ConceptConfig('a man', 1.0, (), 'early', 'linear(1, 0)'),
      schema.ConceptConfig('a man', 1.0),
    ],
  )
  run.priors = {'p': schema.PriorConfig()}
  rows = [
    {'step': step, 'weight/p/0': 1.0, 'cotangent_norm/p': 4.0, 'loss': 0.5}
    | {'cosine/p': 1.0, 'cosine/p/0': 0.5, 'cosine/p/1': -0.5}
    | {'conflict/p': 0.0, 'conflict/p/0': 0.0, 'conflict/p/1': 1.0}
    for step in range(num_steps)
  ]
  shown = report.Report(
    title='a head',
    facts={},
    pictures={},
    downloads={},
    metrics=rows,
    config={},
    ledger=ledger_table.make(rows, run),
    labels=ledger_table.labels(run),
  )
  return Page(report.to_html(shown))


def test_a_report_of_no_step_has_no_ledger_and_no_curves():
  page = page_of_steps(0)
  assert not page.open
  assert not {'Ledger', 'Curves', 'conflict'} & set(page.text)
  assert 'svg' not in {tag for tag, _ in page.tags}


def test_a_report_of_one_step_has_a_ledger_of_that_step():
  page = page_of_steps(1)
  assert not page.open
  assert {'Ledger', 'Curves', 'p: early', 'p: a man', '-0.5'} <= set(page.text)
  cosines = 'cosine with the sum'
  conflict = 'conflict: share of steps against the sum'
  weights = 'weights that follow a schedule'
  assert {cosines, conflict, weights, 'loss'} <= set(page.text)
  assert 'polyline' not in {tag for tag, _ in page.tags}
  assert [tag for tag, _ in page.tags].count('circle') == 2 + 2 + 1 + 1 + 1


def test_the_configuration_is_folded_away(evil_report):
  tags = Page(report.to_html(evil_report)).tags
  (details,) = [attributes for tag, attributes in tags if tag == 'details']
  assert 'open' not in details


def test_the_page_asks_for_nothing_from_elsewhere(evil_report):
  text = report.to_html(evil_report)
  assert not re.search(r'(src|href)\s*=\s*["\']?(https?:|//)', text)
  assert '@import' not in text and 'url(' not in text
  sources = [a['src'] for _, a in Page(text).tags if 'src' in a]
  assert sources and all(source.startswith('data:') for source in sources)


def test_a_picture_is_embedded_byte_for_byte(evil_report):
  page = Page(report.to_html(evil_report))
  (source,) = [a['src'] for tag, a in page.tags if tag == 'img']
  kind, data = source.split(',', 1)
  (picture,) = evil_report.pictures.values()
  assert kind == 'data:image/webp;base64'
  assert base64.b64decode(data) == picture.read_bytes()


def test_downloads_are_links_to_files_beside_the_page(evil_report):
  page = Page(report.to_html(evil_report))
  links = [attrs['href'] for tag, attrs in page.tags if tag == 'a']
  assert links == [
    'turntable.mp4',
    'javascript%3Aalert%281%29%22%3E%3Cscript%3E.glb',
  ]


def test_there_is_a_chart_per_metric_and_the_whole_configuration(evil_report):
  page = Page(report.to_html(evil_report))
  assert [tag for tag, _ in page.tags].count('svg') == 2
  shown = next(t for t in page.text if t.lstrip().startswith('{'))
  assert json.loads(shown) == evil_report.config


def test_a_report_of_nothing_is_a_page(tmp_path):
  empty = report.Report('a head', {}, {}, {}, (), {})
  report.write_report(tmp_path / 'report.html', empty)
  text = (tmp_path / 'report.html').read_text(encoding='utf-8')
  assert Page(text).open == []
  assert 'Curves' not in text
