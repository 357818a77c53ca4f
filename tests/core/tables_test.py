import csv

import pytest

from mmdist.core import tables

TABLE = tables.Table(
  ('text', 'share'),
  (
    {'text': '<b>, "quoted"', 'share': 1 / 3},
    {'text': 'none', 'share': None},
  ),
)


def test_rows_and_columns_are_taken_by_number_and_by_name():
  assert len(TABLE) == 2 and list(TABLE)[1]['text'] == 'none'
  assert TABLE[0]['share'] == 1 / 3
  assert TABLE['share'] == [1 / 3, None]


def test_an_unknown_column_is_answered_with_those_there_are():
  with pytest.raises(KeyError, match="'shar'; columns: text, share"):
    TABLE['shar']


def test_csv_reads_back_with_every_digit(tmp_path):
  text = TABLE.to_csv(tmp_path / 'table.csv')
  assert (tmp_path / 'table.csv').read_text() == text
  head, first, second = csv.reader(text.splitlines())
  assert head == ['text', 'share']
  assert first[0] == '<b>, "quoted"' and float(first[1]) == 1 / 3
  assert second == ['none', '']


def test_html_has_short_numbers_and_no_strangers_tag():
  page = TABLE._repr_html_()
  assert '<td class="number">0.3333</td>' in page
  assert '<b>' not in page and '&lt;b&gt;' in page


def test_a_terminal_shows_columns_below_each_other():
  lines = str(TABLE).splitlines()
  assert lines[1].index('0.3333') == lines[0].index('share')


@pytest.mark.parametrize(
  'value, shown',
  [(True, 'True'), (3, '3'), (float('nan'), 'nan'), (2.5, '2.5')],
)
def test_values_are_shown_as_they_are(value, shown):
  assert tables.format_value(value) == shown


def test_nothing_has_no_mean():
  assert tables.mean([]) is None and tables.mean([1.0, 2.0]) == 1.5
