import io

import pytest

from mmdist.core import progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


def count_to(total, stream, initial=0):
  with progress.Progress(total, initial, stream=stream) as shown:
    for number in range(initial, total):
      shown.update(f'loss {number}')
  return stream.getvalue()


def test_a_log_has_whole_lines_and_the_last_round(monkeypatch):
  monkeypatch.setattr(progress, 'LOG_EVERY_S', 0.0)
  lines = count_to(4, io.StringIO(), initial=1).splitlines()
  assert [line.partition(',')[0] for line in lines] == [
    'step 2 of 4',
    'step 3 of 4',
    'step 4 of 4',
  ]
  assert lines[-1].endswith(' s each, 0 s to go: loss 3')


def test_lines_come_no_more_often_than_they_are_read():
  text = count_to(1000, io.StringIO())
  assert text.count('\n') == 1 and '\r' not in text


def test_a_terminal_has_a_bar():
  assert '\r' in count_to(3, Terminal())


@pytest.mark.parametrize(
  'seconds, text',
  [(7265, '2 h 01 min'), (200, '3 min 20 s'), (44.6, '45 s'), (0, '0 s')],
)
def test_durations_are_read_at_a_glance(seconds, text):
  assert progress.format_seconds(seconds) == text
