"""The columns that a sweep's table has of its own.

Besides these it has one for each field in which cells differ, under the name
that the grid or the list of cells has for the field.
"""

MEASURED = ('saturation', 'detail')  # Of a cell's head.
# Besides, where cells are compared with each other; see `mmdist.sweeps.claims`.
COMPARED = (
  'agreement',
  'shape_agreement',
  'normal_noise_deg',
  'fluctuation',
)
LAST = ('seconds', 'error')  # Shown behind all others.
OWN = ('name', 'state', 'step', *LAST, *MEASURED)
_SEES = 'sees '


def sees(concept: str) -> str:
  """Returns the column of how much of a concept the judge sees."""
  return _SEES + concept


def is_own(name: str) -> bool:
  """Returns whether the table has a column of this name in any case."""
  return name in OWN + COMPARED or name.startswith(_SEES)
