"""Rows of `mmdist.evaluation.run_evaluation` as a table for people."""

from collections.abc import Iterable, Mapping, Sequence
import pathlib
from typing import Any

import numpy as np

from mmdist.evaluation import asked_scores

COLUMNS = (
  'prompt_agreement',
  'true_render_agreement',
  'expression_accuracy',
  'geometry_agreement',
  'clay_agreement',
  'true_clay_agreement',
  'saturation',
  'detail',
  'normal_noise_deg',
  'true_normal_noise_deg',
  'view_consistency',
)


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
  """Returns the rows as an aligned table, with the mean if there are many.

  The concepts of mixes follow below it, a line each.
  """
  columns = [*COLUMNS]
  columns += [c for c in asked_scores.COLUMNS if any(c in row for row in rows)]
  header = ['run', *columns]
  lines = [header]
  for row in rows:
    lines.append([_name(row), *(_cell(row.get(column)) for column in columns)])
  if len(rows) > 1:
    means = [_average([row.get(column) for row in rows]) for column in columns]
    lines.append(['mean', *map(_cell, means)])
  widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
  table = [
    '  '.join(cell.ljust(width) for cell, width in zip(line, widths))
    for line in lines
  ]
  return '\n'.join(table + _concept_lines(rows))


def _concept_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  return [
    f'{_name(row)}: {_cell(concept["agreement"])} of '
    f'{concept["weight"]:g} * {concept["text"]}'
    for row in rows
    for concept in row.get('concepts', ())
  ]


def _name(row: Mapping[str, Any]) -> str:
  return pathlib.Path(str(row['run'])).name


def _average(values: Iterable[Any]) -> float | None:
  known = [value for value in values if value is not None]
  return float(np.mean(known)) if known else None


def _cell(value: Any) -> str:
  if isinstance(value, int):
    return str(value)
  return '-' if value is None else f'{value:.3f}'
