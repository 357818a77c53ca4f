"""How attributes are drawn that all worlds share, and how often each comes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mmdist.heads import palettes

NAMED_SHARE = 0.14  # Of heads of which nothing is fixed.


def choose(
  rng: np.random.Generator,
  values: Iterable[str],
  p: Sequence[float] | None = None,
) -> str:
  """Draws one of the values; all are as likely without probabilities `p`."""
  values = tuple(values)
  return values[int(rng.choice(len(values), p=p))]


def draw_person(
  rng: np.random.Generator,
  hair_styles: tuple[Sequence[str], Sequence[float]],
  beards: tuple[Sequence[str], Sequence[float]] | None,
  is_old: bool,
) -> dict[str, Any]:
  """Draws what every subject has: natural skin, hair, eyes, shirt, a beard.

  Args:
    rng: decides.
    hair_styles: them, and their probabilities.
    beards: them, and their probabilities; None for who has none.
    is_old: whether hair is grey or white.
  """
  hair = palettes.OLD_HAIR if is_old else palettes.NATURAL_HAIR
  return {
    'skin': choose(rng, palettes.NATURAL_SKINS),
    'hair_style': choose(rng, *hair_styles),
    'hair_color': choose(rng, hair),
    'beard': choose(rng, *beards) if beards else '',
    'eye_color': choose(rng, palettes.EYE_COLORS),
    'shirt_color': choose(rng, palettes.OBJECT_COLORS),
    'hat_color': choose(rng, palettes.OBJECT_COLORS),
    'headphone_color': choose(rng, palettes.OBJECT_COLORS),
  }


def draw_fantasy(
  rng: np.random.Generator,
  expressions: tuple[Sequence[str], Sequence[float]],
  is_old: bool,
) -> dict[str, Any]:
  """Draws what the priors know beyond plain subjects.

  Args:
    rng: decides.
    expressions: them, and their probabilities.
    is_old: whether hair keeps its grey or white.
  """
  drawn: dict[str, Any] = {
    'expression': choose(rng, *expressions),
    'glasses': choose(rng, palettes.GLASSES, (0.80, 0.11, 0.09)),
    'pointed_ears': rng.random() < 0.08,
    'red_nose': rng.random() < 0.04,
  }
  if rng.random() < 0.40:
    drawn['skin'] = choose(rng, palettes.FANTASY_SKINS)
  if rng.random() < 0.28 and not is_old:
    drawn['hair_color'] = choose(rng, palettes.FANTASY_HAIR)
  wears = rng.random()
  if wears < 0.42:
    hats = palettes.HATS[1:]
    drawn['hat'] = choose(rng, hats, (0.3, 0.14, 0.14, 0.14, 0.12, 0.16))
  elif wears < 0.52:
    drawn['horns'] = True
  elif wears < 0.62:
    drawn['headphones'] = True
  return drawn
