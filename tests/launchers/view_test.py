import pathlib

import pytest

from launchers import view
from mmdist.results import live_server
from mmdist.results import remake


@pytest.fixture
def asked(monkeypatch):
  """What was made or served, in place of doing it."""
  calls = []

  def fake_remake(kind, workdir, options, judge):
    calls.append((kind, workdir, options.quality))
    return {'sheet': pathlib.Path(workdir) / 'sheet.png'}

  def serve(workdir, options, report):
    calls.append(('live', workdir, options.host))
    report('serving')

  monkeypatch.setattr(remake, 'remake', fake_remake)
  monkeypatch.setattr(live_server, 'serve', serve)
  return calls


def test_main_prints_where_the_results_are(asked, capsys):
  view.main(remake.Options(quality=True), ['sheet', 'runs/a'])
  assert capsys.readouterr().out == 'sheet      runs/a/sheet.png\n'
  assert asked == [('sheet', 'runs/a', True)]


def test_live_pictures_are_for_this_machine_unless_asked(asked, capsys):
  view.main(remake.Options(), ['live', 'runs/a'])
  view.main(remake.Options(host='0.0.0.0'), ['live', 'runs/a'])
  assert [call[2] for call in asked] == ['127.0.0.1', '0.0.0.0']
  assert capsys.readouterr().out == 'serving\n' * 2


def test_an_unknown_result_is_answered_with_the_nearest(asked):
  with pytest.raises(ValueError, match="'mash'; did you mean 'mesh'.*live"):
    view.main(remake.Options(), ['mash', 'runs/a'])
  assert not asked


def test_missing_arguments_are_answered_with_the_usage():
  with pytest.raises(ValueError, match=r'mesh\|splats\|all\|live RUN'):
    view.main(remake.Options(), ['mesh'])
