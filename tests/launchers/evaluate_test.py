import json
import math

import pytest

from launchers import evaluate
from mmdist.evaluation import evaluation_table
from mmdist.evaluation import run_evaluation
from mmdist.run import opening

Options = run_evaluation.Options


@pytest.fixture
def asked(monkeypatch):
  """What `evaluate` was asked, in place of any judge."""
  calls = []

  def fake(runs, options):
    calls.append((runs, options))
    row = dict.fromkeys(evaluation_table.COLUMNS, 0.5)
    return [row | {'run': run} for run in runs]

  monkeypatch.setattr(run_evaluation, 'evaluate', fake)
  return calls


def test_a_table_or_a_list_is_printed(asked, capsys):
  evaluate.main(Options(), ['runs/run', 'runs/run'])
  assert capsys.readouterr().out.startswith('run   prompt_agreement')
  evaluate.main(Options(json=True, start=True), ['runs/run'])
  rows = json.loads(capsys.readouterr().out)
  assert [row['run'] for row in rows] == ['runs/run']
  assert asked[1] == (['runs/run'], Options(json=True, start=True))


def test_the_list_is_written_too(asked, tmp_path, capsys):
  evaluate.main(Options(out=str(tmp_path / 'scores.json')), ['a', 'b'])
  rows = json.loads((tmp_path / 'scores.json').read_text())
  assert [row['run'] for row in rows] == ['a', 'b']
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines] == ['run', 'a', 'b', 'mean']


def test_a_number_that_cannot_be_measured_is_null(
  monkeypatch, tmp_path, capsys
):
  row = dict.fromkeys(evaluation_table.COLUMNS, math.nan)
  monkeypatch.setattr(
    run_evaluation, 'evaluate', lambda *_: [row | {'run': 'a'}]
  )
  out = tmp_path / 'scores.json'
  evaluate.main(Options(json=True, out=str(out)), ['a'])
  for text in (capsys.readouterr().out, out.read_text()):
    assert 'NaN' not in text
    assert json.loads(text)[0]['detail'] is None


def test_a_file_that_could_not_be_written_is_refused_at_once(asked, tmp_path):
  out = str(tmp_path / 'nowhere' / 'scores.json')
  with pytest.raises(FileNotFoundError, match='folder that does not exist'):
    evaluate.main(Options(out=out), ['run'])
  assert not asked


def test_a_digest_is_a_line_per_run(monkeypatch, capsys):
  monkeypatch.setattr(opening, 'digest', lambda run: (3, f'sha-of-{run}'))
  evaluate.main(Options(digest=True), ['a', 'b'])
  assert capsys.readouterr().out == 'sha-of-a  3  a\nsha-of-b  3  b\n'


def test_no_run_is_answered_with_the_usage():
  with pytest.raises(ValueError, match=r'evaluate RUN \[RUN'):
    evaluate.main(Options(), [])
