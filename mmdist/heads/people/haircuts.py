"""Which haircuts exist, in numbers.

Owns the styles; how hair of a style lies is the business of `hair`.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Style:
  """How hair lies; lengths in world units.

  Attributes:
    count: strands.
    length: of a strand.
    lift: how much it follows the skin's normal at its root.
    gravity: how it bends down, per segment.
    comb: direction it is combed in.
    segments: of a strand.
    width: of a strip.
    disorder: of its direction, per segment.
    underlay: thickness of the shell over the scalp.
    spread: how far strands lie apart above it.
    stray: how far above its layer a strand may be, over the head.
    tip: width of a strip at its end, as a share.
    part: how much the front is combed aside.
    wave: amplitude of waves.
    bare: half width of the only strip that is not shaven, decimetres; 0 for
      none.
    hang: width of the wide strips under the others, that close a curtain.
    curl: radius of curls; 0 for straight hair.
    is_tied: whether strands run to one point behind the crown.
  """

  count: int
  length: float
  segments: int
  width: float
  underlay: float
  spread: float
  lift: float = 0.3
  gravity: float = 0.1
  comb: tuple[float, float, float] = (0.0, 0.0, 0.0)
  disorder: float = 0.03
  stray: float = 0.02
  tip: float = 0.3
  part: float = 0.0
  wave: float = 0.0
  bare: float = 0.0
  hang: float = 0.0
  curl: float = 0.0
  is_tied: bool = False


STYLES = {
  'crop': Style(
    count=1000, length=0.09, segments=3, width=0.05, underlay=0.025,
    spread=0.008, gravity=0.02, comb=(0, -0.25, 0.35), disorder=0.04,
  ),
  'short': Style(
    count=800, length=0.22, segments=5, width=0.08, underlay=0.05, spread=0.02,
    gravity=0.12, comb=(0.3, 0.0, 0.25),
  ),
  'aside': Style(
    count=800, length=0.30, segments=6, width=0.085, underlay=0.06,
    spread=0.025, gravity=0.14, comb=(0.9, -0.1, -0.1),
  ),
  'back': Style(
    count=800, length=0.30, segments=6, width=0.085, underlay=0.05, spread=0.02,
    gravity=0.14, comb=(0, -0.15, -1.2),
  ),
  'curly': Style(
    count=520, length=0.1, segments=2, width=0.05, underlay=0.075, spread=0.035,
    curl=0.058,
  ),
  'afro': Style(
    count=900, length=0.1, segments=2, width=0.05, underlay=0.21, spread=0.02,
    curl=0.058,
  ),
  'bob': Style(
    stray=0.08,
    count=900, length=0.78, segments=9, width=0.085, underlay=0.05, spread=0.03,
    gravity=0.45, comb=(0, -0.2, -0.3), disorder=0.02, tip=0.7, part=0.6,
    hang=0.24,
  ),
  'long': Style(
    stray=0.1,
    count=1000, length=1.35, segments=11, width=0.095, underlay=0.045,
    spread=0.035, lift=0.25, gravity=0.45, comb=(0, -0.2, -0.35),
    disorder=0.015, tip=0.6, part=0.6, hang=0.26,
  ),
  'wavy': Style(
    stray=0.12,
    count=1000, length=1.20, segments=13, width=0.09, underlay=0.055,
    spread=0.04, gravity=0.40, comb=(0, -0.2, -0.25), tip=0.5, part=0.6,
    wave=0.28, hang=0.26,
  ),
  'mohawk': Style(
    stray=1.0,
    count=700, length=0.30, segments=5, width=0.085, underlay=0.05, spread=0.02,
    lift=1.0, gravity=-0.05, comb=(0, 0.6, -0.1), bare=0.17, tip=0.4,
  ),
  'tied': Style(
    count=800, length=0.5, segments=6, width=0.07, underlay=0.035, spread=0.012,
    is_tied=True, tip=0.8,
  ),
}  # fmt: skip
# What a word of `attributes.HAIR_STYLES` may look like; the others are styles.
CUTS = {
  'short': ('short', 'aside', 'back', 'crop'),
  'long': ('long', 'wavy'),
  'ponytail': ('tied',),
  'bun': ('tied',),
}
# Under something that presses on it.
_FLAT_SHELL, _FLAT_SPREAD, _FLAT_LENGTH, _FLAT_CURL = 0.024, 0.008, 0.17, 0.04
_SHORT = 0.5


def chosen(word: str, chance: float, is_pressed: bool) -> Style:
  """Returns a style of a word.

  Args:
    word: of `attributes.HAIR_STYLES`, but not 'bald'.
    chance: in [0, 1), which of the word's cuts.
    is_pressed: whether a hat or headphones lie on it.
  """
  cuts = CUTS.get(word, (word,))
  style = STYLES[cuts[int(chance * len(cuts))]]
  if not is_pressed:
    return style
  length = style.length
  # Curls give way less: an afro is still seen to be one.
  curly = style.underlay if style.curl else 0.0
  return dataclasses.replace(
    style,
    underlay=min(style.underlay, max(_FLAT_SHELL, 0.4 * curly)),
    spread=min(style.spread, _FLAT_SPREAD),
    lift=min(style.lift, 0.15),
    length=min(length, _FLAT_LENGTH) if length < _SHORT else length,
    curl=min(style.curl, _FLAT_CURL),
  )
