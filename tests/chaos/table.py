"""A plugin of pytest: `--chaos-table=FILE` writes a line of Markdown per case.

`make chaos` has it.
"""

import datetime
import pathlib

CASES = []


def pytest_addoption(parser):
  parser.addoption('--chaos-table', default='', help='Markdown file to write.')


def pytest_runtest_logreport(report):
  if report.when == 'call' or report.outcome != 'passed':
    CASES.append((report.nodeid, report.outcome, report.duration))


def pytest_sessionfinish(session):
  path = session.config.getoption('--chaos-table', '')
  if not path or not CASES:
    return
  today = datetime.date.today().isoformat()
  lines = [f'Run on {today}.', '', '| case | result | s |', '|---|---|---|']
  for name, outcome, seconds in sorted(CASES):
    short = name.removeprefix('tests/').replace('|', '/')
    lines.append(f'| {short} | {outcome} | {seconds:.1f} |')
  pathlib.Path(path).write_text('\n'.join(lines) + '\n')
