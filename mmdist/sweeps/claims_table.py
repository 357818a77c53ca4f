"""Claims beside what was measured, as a table for people.

A figure is the mean over the seeds of a preset. It is the same as the
reference's if it is no further from it than the seeds of the reference lie
apart. Nothing is said about a preset of which a cell is missing.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

from mmdist.core import tables
from mmdist.sweeps import claims as claims_lib

_HEADS = (
  'ablation',
  'said in',
  'figure',
  'reference',
  'its value',
  'expected',
  'found',
  'agrees',
)
_EXPLAINED = (
  'Figures are means over the seeds, whose own values are in brackets. `same` '
  'is no further from the reference than its seeds lie apart; with two seeds '
  'that is a rough measure.'
)


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What became of one claim.

  Attributes:
    claim: it.
    reference: the figure of each cell of the reference; empty if one is
      missing.
    values: the same of the claim's preset.
    missing: why there is no verdict, a few words for each cell; empty if there
      is one.
  """

  claim: claims_lib.Claim
  reference: tuple[float, ...]
  values: tuple[float, ...]
  missing: tuple[str, ...]

  @property
  def found(self) -> str:
    """One of `claims.EXPECTED`; '' if there is no verdict."""
    if self.missing:
      return ''
    moved = _mean(self.values) - _mean(self.reference)
    if abs(moved) <= max(self.reference) - min(self.reference):
      return 'same'
    return 'up' if moved > 0 else 'down'

  @property
  def agrees(self) -> str:
    """'yes' or 'no'; '' if there is no verdict."""
    if self.missing:
      return ''
    return 'yes' if self.found == self.claim.expected else 'no'


def compare(
  comparison: claims_lib.Comparison, rows: Sequence[Mapping[str, Any]]
) -> list[Verdict]:
  """Returns what became of each claim.

  Args:
    comparison: the claims and their cells.
    rows: of the sweep's table, in which each of the cells has one.
  """
  by_name = {row['name']: row for row in rows}

  def figures(preset: str, figure: str) -> tuple[tuple[float, ...], list[str]]:
    cells = [by_name[name] for name in comparison.cells[preset]]
    missing = [why for cell in cells if (why := _why_missing(cell, figure))]
    return () if missing else tuple(cell[figure] for cell in cells), missing

  verdicts = []
  for claim in comparison.claims:
    reference, absent = figures(comparison.reference, claim.figure)
    values, missing = figures(claim.preset, claim.figure)
    verdicts.append(Verdict(claim, reference, values, (*absent, *missing)))
  return verdicts


def _why_missing(row: Mapping[str, Any], figure: str) -> str:
  """Returns why a cell has no such figure; '' if it has."""
  if row['state'] == 'failed':
    return f'{row["name"]} failed'
  if row['state'] != 'finished':
    step = row['step']
    return f'{row["name"]} {f"is at step {step}" if step else "is not made"}'
  value: Any = row.get(figure)
  if not tables.is_number(value) or not math.isfinite(value):
    return f'{row["name"]} has no {figure}'
  return ''


def to_markdown(
  comparison: claims_lib.Comparison, rows: Sequence[Mapping[str, Any]]
) -> str:
  """Returns the table with a row for each claim; see `compare`."""
  verdicts = compare(comparison, rows)
  lines = [
    f'# {comparison.name}',
    '',
    f'{_count(verdicts)} {_EXPLAINED}',
    '',
    _line(_HEADS),
    _line(['---'] * len(_HEADS)),
    *(_line(_cells(verdict)) for verdict in verdicts),
  ]
  return '\n'.join(lines) + '\n'


def _count(verdicts: Sequence[Verdict]) -> str:
  answers = [verdict.agrees for verdict in verdicts]
  return (
    f'Of {len(answers)} claims {answers.count("yes")} agree, '
    f'{answers.count("no")} do not, and {answers.count("")} have no verdict.'
  )


def _cells(verdict: Verdict) -> list[str]:
  claim = verdict.claim
  return [
    f'`{claim.preset}`',
    claim.place,
    f'`{claim.figure}`',
    _show(verdict.reference),
    _show(verdict.values),
    claim.expected,
    verdict.found or f'not known: {", ".join(verdict.missing)}',
    verdict.agrees,
  ]


def _line(cells: Sequence[str]) -> str:
  return f'| {" | ".join(cells)} |'


def _show(values: Sequence[float]) -> str:
  if not values:
    return ''
  each = ', '.join(map(tables.format_value, values))
  return f'{tables.format_value(_mean(values))} ({each})'


def _mean(values: Sequence[float]) -> float:
  return math.fsum(values) / len(values)
