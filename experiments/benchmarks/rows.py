"""Rows of measurements, printed."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdist.core import strict_json


def show(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
  """Prints rows as a table, or as JSON."""
  if as_json:
    print(strict_json.dumps(rows))
    return
  print(' | '.join(rows[0]))
  for row in rows:
    print(
      ' | '.join(
        f'{v:.4f}' if isinstance(v, float) else str(v) for v in row.values()
      )
    )
