"""Which heads of clay exist: their values, and how often each is drawn.

What all worlds share is `mmdist.heads.traits`; how these heads look is
`mmdist.heads.clay.geometry`. Nothing here imports JAX.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from mmdist.heads import chances
from mmdist.heads import traits

KINDS = ('man', 'woman', 'child', 'old man', 'old woman')
HAIR_STYLES = ('bald', 'short', 'long', 'afro', 'mohawk', 'bun')
BEARDS = ('', 'beard', 'long beard', 'moustache')
# How often, in the order of the values.
KINDS_SHARES = (0.34, 0.32, 0.12, 0.12, 0.10)
FEMALE_STYLES = (0.04, 0.20, 0.44, 0.12, 0.0, 0.20)
MALE_STYLES = (0.2, 0.5, 0.1, 0.14, 0.06, 0.0)
BEARDS_SHARES = (0.64, 0.14, 0.10, 0.12)
EXPRESSIONS_SHARES = (0.2, 0.26, 0.2, 0.18, 0.16)


@dataclasses.dataclass(frozen=True)
class Expression:
  """How a face moves; each number is scaled by 0.85 to 1.15 per head."""

  curve: float = 0.0  # Corners of the mouth: up > 0 > down.
  opening: float = 0.0
  width: float = 1.0
  brow_raise: float = 0.0
  brow_tilt: float = 0.0  # Inner ends: down > 0 > up.
  lid: float = 0.45
  cheek: float = 0.0


# Exaggerated on purpose: they have to be read at 64 pixels.
EXPRESSIONS = {
  'neutral': Expression(),
  'happy': Expression(1.25, 0.72, 1.25, 0.35, 0.0, 0.42, 1.0),
  'sad': Expression(-1.5, 0.0, 1.05, 0.25, -1.3, 0.12, -0.4),
  'surprised': Expression(0.0, 0.95, 0.52, 1.5, 0.0, 1.0, 0.0),
  'open mouth': Expression(0.0, 1.0, 1.12, 0.0, 0.0, 0.40, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Attributes(traits.Attributes):
  """A head of clay in words."""


def _draw_person(
  rng: np.random.Generator, fixed: Mapping[str, Any]
) -> dict[str, Any]:
  kind = str(fixed.get('kind') or chances.choose(rng, KINDS, KINDS_SHARES))
  female = 'woman' in kind
  bearded = not female and kind != 'child'
  drawn = chances.draw_person(
    rng,
    (HAIR_STYLES, FEMALE_STYLES if female else MALE_STYLES),
    (BEARDS, BEARDS_SHARES) if bearded else None,
    'old' in kind,
  )
  return {'kind': kind, **drawn}


def _draw_fantasy(
  rng: np.random.Generator, drawn: Mapping[str, Any]
) -> dict[str, Any]:
  return chances.draw_fantasy(
    rng, (tuple(EXPRESSIONS), EXPRESSIONS_SHARES), 'old' in drawn['kind']
  )


TRAITS = traits.Traits(
  record=Attributes,
  choices=traits.make_choices(KINDS, tuple(EXPRESSIONS), HAIR_STYLES, BEARDS),
  draw_person=_draw_person,
  draw_fantasy=_draw_fantasy,
  old_man={'kind': 'old man'},
  tall_styles=('mohawk', 'bun', 'afro'),
  ageless=('child',),
)
