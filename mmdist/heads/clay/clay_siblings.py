"""What families of clay heads differ in; see `mmdist.heads.kinship`."""

from typing import Any

import numpy as np

from mmdist.heads import kinship
from mmdist.heads.clay import clay_attributes


def _beards(rng: np.random.Generator) -> list[dict[str, Any]]:
  kind = ('man', 'old man')[rng.integers(2)]
  changes: list[dict[str, object]] = [
    {'beard': beard} for beard in clay_attributes.BEARDS
  ]
  changes.append({'beard': '', 'red_nose': True})
  plain: dict[str, object] = {'kind': kind, 'red_nose': False}
  return [plain | change for change in changes]


SIBLINGS = kinship.Kinship(
  traits=clay_attributes.TRAITS,
  variations=kinship.make_variations(
    clay_attributes.TRAITS.choices,
    _beards,
    kinship.one_of_each('kind', clay_attributes.KINDS, beard=''),
  ),
  emphasis={kinship.EXPRESSION: kinship.FACE_EMPHASIS},
)
