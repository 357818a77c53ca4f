"""Rows of named values for people, notebooks and spreadsheets.

Owns how a table is written; what is in it is decided by who makes it.
"""

from collections.abc import Iterator, Mapping, Sequence
import csv
import dataclasses
import html
import io
import math
import os
from typing import Any

from mmdist.core import atomic


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows with the same columns.

  `table[2]` is a row, `table['norm']` a column.

  Attributes:
    columns: in the order in which they are shown.
    rows: column -> value; None where there is none.
  """

  columns: tuple[str, ...]
  rows: tuple[Mapping[str, Any], ...]

  def __len__(self) -> int:
    return len(self.rows)

  def __iter__(self) -> Iterator[Mapping[str, Any]]:
    return iter(self.rows)

  def __getitem__(self, place: int | str) -> Any:
    if isinstance(place, int):
      return self.rows[place]
    if place not in self.columns:
      raise KeyError(f'no column {place!r}; columns: {", ".join(self.columns)}')
    return [row.get(place) for row in self.rows]

  def to_csv(self, path: str | os.PathLike | None = None) -> str:
    """Returns the table as CSV with every digit, and writes it to a file.

    Args:
      path: the file to be; None writes none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(self.columns)
    writer.writerows(
      [row.get(column) for column in self.columns] for row in self.rows
    )
    if path is not None:
      atomic.write_text(path, text.getvalue())
    return text.getvalue()

  def to_html(self) -> str:
    """Returns a `<table>` with numbers of four digits; texts are escaped."""
    heads = ''.join(_head(name, self[name]) for name in self.columns)
    rows = ''.join(
      f'<tr>{"".join(_cell(row.get(c)) for c in self.columns)}</tr>'
      for row in self.rows
    )
    return (
      f'<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )

  def __str__(self) -> str:
    """Returns the table in columns of equal width."""
    shown = [list(self.columns)]
    shown += [[format_value(r.get(c)) for c in self.columns] for r in self.rows]
    widths = [max(map(len, column)) for column in zip(*shown)]
    lines = [
      '  '.join(text.ljust(width) for text, width in zip(line, widths))
      for line in shown
    ]
    return '\n'.join(line.rstrip() for line in lines)

  def _repr_html_(self) -> str:
    """Returns what a notebook shows."""
    return self.to_html()


def _head(name: str, values: Sequence[Any]) -> str:
  there = [value for value in values if value is not None]
  # Numbers are aligned to the right, and so is the head of their column.
  kind = ' class="number"' if there and all(map(is_number, there)) else ''
  return f'<th{kind}>{html.escape(name)}</th>'


def _cell(value: Any) -> str:
  kind = ' class="number"' if is_number(value) else ''
  return f'<td{kind}>{html.escape(format_value(value))}</td>'


def is_number(value: Any) -> bool:
  """Returns whether a value is a number, which True and False are not."""
  return isinstance(value, int | float) and not isinstance(value, bool)


def format_value(value: Any) -> str:
  """Returns a value as a table shows it: four digits, '' for none."""
  if value is None:
    return ''
  if isinstance(value, float) and math.isfinite(value):
    return f'{value:.4g}'
  return str(value)


def mean(values: Sequence[float]) -> float | None:
  """Returns the mean of the values; None if there are none."""
  return math.fsum(values) / len(values) if values else None
