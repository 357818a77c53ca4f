"""What is claimed about the cells of a study, as data.

A claim says which figure a change moves, and where. The study hands its claims
to the sweep with its cells; `claims_table.py` holds them to what was measured.
"""

from collections.abc import Mapping
import dataclasses

from mmdist.core import errors
from mmdist.core import names
from mmdist.sweeps import columns

FIGURES = columns.MEASURED + columns.COMPARED
EXPECTED = ('up', 'down', 'same')


@dataclasses.dataclass(frozen=True)
class Claim:
  """One figure of one preset, against the same figure of the reference.

  Attributes:
    preset: of which it is claimed.
    figure: one of `FIGURES`.
    expected: where it moves, one of `EXPECTED`.
    place: where that is said, such as 'MagicMirror, Fig. 5a'.
  """

  preset: str
  figure: str
  expected: str
  place: str


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Claims, and the cells that they are about.

  Attributes:
    name: of its table, a file beside that of the sweep.
    reference: the preset with which the others are compared.
    cells: preset -> names of its cells, which differ in their seeds.
    claims: in the order of the table.

  Raises:
    UserError: in one line; a claim is about nothing that is measured, or the
      reference has too few cells to tell how far seeds lie apart.
  """

  name: str
  reference: str
  cells: Mapping[str, tuple[str, ...]]
  claims: tuple[Claim, ...]

  @property
  def file_name(self) -> str:
    """Of its table."""
    return f'{self.name}.md'

  def __post_init__(self) -> None:
    names.check_file_name('a table of claims', self.name)
    for preset in (self.reference, *(claim.preset for claim in self.claims)):
      names.check_choice('preset of a claim', preset, self.cells)
    for claim in self.claims:
      names.check_choice('figure of a claim', claim.figure, FIGURES)
      names.check_choice('expected of a claim', claim.expected, EXPECTED)
    if len(self.cells[self.reference]) < 2:
      raise errors.UserError(
        f"the reference '{self.reference}' of {self.name} has one cell; "
        'expected two or more, which differ in their seed.'
      )
