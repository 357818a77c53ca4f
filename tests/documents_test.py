"""Whatever documents, docstrings and comments refer to exists.

Checked are paths and modules in backticks, sections of documents that code
cites, and relative links with their anchors. Numbers of rows, which only
somebody with a certain table beside him could read, may not come back.
"""

import functools
import pathlib
import re

import pytest

from tests import repository_test

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ('.py', '.md', '.toml', '.cfg')

# `mmdist/nerf/field.py`, with `:preset` or `::test_name` behind it or not.
_PATH = re.compile(
  r'`((?:mmdist|launchers|experiments|tests|docs)/[\w./-]*)(?::[\w:]+)?`'
)
# `mmdist.nerf.field`, with a name of that module behind it or not; a prior's
# file `mmdist.json` is none.
_MODULE = re.compile(r'`(mmdist(?!\.json)(?:\.\w+)+)(?:\(\))?`')
# docs/method.md, section 2, 'Proxy'
_CITATION = re.compile(
  r"(docs/[\w-]+\.md)(?:`?, section (\d+)(?:, '([^']+)')?)?"
)
_LINK = re.compile(r'\]\(([^)\s]+)\)')
_FENCED = re.compile(r'^ *```.*?^ *```', re.MULTILINE | re.DOTALL)
# Rows of a table that is not part of the repository, such as O and a number.
_CODE_OF_A_ROW = re.compile(r'\b[ON][0-9]{1,2}\b')


@functools.cache
def texts_of(*suffixes: str) -> list[str]:
  return sorted(
    str(path.relative_to(ROOT))
    for path in repository_test.tracked_files()
    if path.suffix in suffixes
  )


@functools.cache
def read(path: str) -> str:
  return (ROOT / path).read_text(encoding='utf-8')


def unwrapped(path: str) -> str:
  """Returns a text without its line breaks and the marks of comments."""
  return re.sub(r'[ \t]*\n[ \t]*(?:#[ \t])?[ \t]*', ' ', read(path))


@functools.cache
def headings_of(path: str) -> list[tuple[int, str]]:
  """Returns (level, title) of a document's headings, in order."""
  lines = _FENCED.sub('', read(path)).splitlines()
  found = [re.match(r'(#+) +(.*?) *$', line) for line in lines]
  return [(len(match[1]), match[2]) for match in found if match]


def anchors_of(path: str) -> set[str]:
  """Returns what a link may have behind its #, as code hosts derive it."""
  anchors: set[str] = set()
  for _, title in headings_of(path):
    words = re.sub(r'[^\w\- ]', '', title.lower())
    name = anchor = words.replace(' ', '-')
    count = 0
    while anchor in anchors:
      count += 1
      anchor = f'{name}-{count}'
    anchors.add(anchor)
  return anchors


def has_section(path: str, number: str, title: str | None) -> bool:
  """Returns whether '## NUMBER ...' exists, with '### TITLE' in it."""
  inside = False
  for level, heading in headings_of(path):
    if level <= 2:
      inside = heading.startswith(f'{number} ')
    if inside and title in (None, heading):
      return True
  return False


def file_of(module: str) -> tuple[str, list[str]]:
  """Returns the file of a dotted name, and what is left of the name."""
  parts = module.split('.')
  for length in range(len(parts), 0, -1):
    stem = '/'.join(parts[:length])
    for path in (f'{stem}.py', f'{stem}/__init__.py'):
      if (ROOT / path).is_file():
        return path, parts[length:]
  return '', parts


def wrong_paths(path: str) -> set[str]:
  named = {match[1] for match in _PATH.finditer(read(path))}
  return {name for name in named if not (ROOT / name).exists()}


def wrong_modules(path: str) -> set[str]:
  wrong = set()
  for match in _MODULE.finditer(read(path)):
    file, names = file_of(match[1])
    known = read(file) if file else ''
    if not all(re.search(rf'\b{name}\b', known) for name in names):
      wrong.add(match[1])
  return wrong


def wrong_citations(path: str) -> set[str]:
  wrong = set()
  for match in _CITATION.finditer(unwrapped(path)):
    document, number, title = match.groups()
    if not (ROOT / document).is_file() or (
      number and not has_section(document, number, title)
    ):
      wrong.add(match[0])
  return wrong


def broken_links(path: str) -> set[str]:
  broken = set()
  for match in _LINK.finditer(_FENCED.sub('', read(path))):
    target, _, anchor = match[1].partition('#')
    if re.match(r'\w+:', target):
      continue  # A page of somebody else.
    file = (ROOT / path).parent / target if target else ROOT / path
    if not file.exists():
      broken.add(match[1])
    elif anchor and file.suffix == '.md':
      known = anchors_of(str(file.resolve().relative_to(ROOT)))
      if anchor not in known:
        broken.add(match[1])
  return broken


def numbers_of_rows(path: str) -> set[str]:
  return set(_CODE_OF_A_ROW.findall(read(path)))


@pytest.mark.parametrize(
  'find', [wrong_paths, wrong_modules, wrong_citations, numbers_of_rows]
)
def test_whatever_a_text_refers_to_exists(find):
  found = {path: find(path) for path in texts_of(*TEXTS)}
  assert not {path: wrong for path, wrong in found.items() if wrong}


def test_every_relative_link_of_a_document_resolves():
  found = {path: broken_links(path) for path in texts_of('.md')}
  assert not {path: broken for path, broken in found.items() if broken}


def test_a_section_that_does_not_exist_is_found():
  assert has_section('docs/method.md', '2', 'Proxy')
  assert not has_section('docs/method.md', '3', 'Proxy')
  assert not has_section('docs/method.md', '77', None)
  assert '2-objective' in anchors_of('docs/method.md')


def test_the_contents_of_the_results_name_every_section():
  contents = read('docs/results.md').partition('\n## ')[0]
  titles = [t for level, t in headings_of('docs/results.md') if level == 2]
  assert re.findall(r'^- \[(.+?)\]', contents, re.MULTILINE) == titles
