"""Kinds of guidance: what a prior's guided prediction is compared with.

A kind is two choices, a reference and how renders are noised. Here is what is
known of each before any network is built; `mmdist.priors.guidance` computes it
(docs/method.md, section 2, 'Kinds of guidance').
"""

from collections.abc import Callable
import dataclasses
from typing import Protocol

RANDOM, INVERTED = 'random', 'inverted'
NOISINGS = ('', RANDOM, INVERTED)  # '' is the kind's own.

# What S <= 0 does where a kind's terms pull towards what is there already.
_REPELS = 'its references cancel or repel'


@dataclasses.dataclass(frozen=True)
class Kind:
  """What a configuration has to know of a kind of guidance.

  Attributes:
    reference: in words.
    noising: `RANDOM`, or `INVERTED`: the renders are led up by DDIM inversion.
    may_choose_noising: whether the other noising makes sense, too.
    needs_negative: whether it is nothing without a negative prompt.
    adds_negative: whether the negative prompt is added to the text, instead of
      being read alone.
    needs_start: whether it compares renders with those of the run's start.
    negative_prompt: the one it has where none is given; '' for none.
    imbalance: what S <= 0 does, in words; '' where any S is sound.
    rows: texts of its largest pass, for so many texts (see `num_rows`).
  """

  reference: str
  noising: str = RANDOM
  may_choose_noising: bool = True
  needs_negative: bool = False
  adds_negative: bool = False
  needs_start: bool = False
  negative_prompt: str = ''
  imbalance: str = _REPELS
  rows: Callable[[int], int] = lambda num_texts: num_texts + 1


# The figures and default texts are those of the papers named here; arXiv.
KINDS = {
  # DreamFusion 2209.14988.
  'sds': Kind('the noise'),
  # ProlificDreamer 2305.16213; MagicMirror.
  'vsd': Kind(
    "the proxy's prediction", imbalance='its proxies cancel or repel'
  ),
  # Classifier Score Distillation 2310.19415.
  'csd': Kind('the prediction without text', imbalance=''),
  # Noise-Free Score Distillation 2310.17590.
  'nfsd': Kind(
    'nothing; the part of the prediction that denoises is left out',
    negative_prompt=(
      'unrealistic, blurry, low quality, out of focus, ugly, low contrast, '
      'dull, dark, low-resolution, gloomy'
    ),
    imbalance='what is left of denoising turns into its opposite',
    rows=lambda num_texts: num_texts + 2,
  ),
  # ScaleDreamer 2407.02040.
  'asd': Kind(
    'the prediction at a later time', rows=lambda num_texts: 2 * num_texts + 1
  ),
  # Rethinking Score Distillation as a Bridge 2406.09417.
  'bridge': Kind(
    'the prediction for the text with source words',
    adds_negative=True,
    negative_prompt=(
      'oversaturated, smooth, pixelated, cartoon, foggy, hazy, bad structure'
    ),
    rows=lambda num_texts: 2 * num_texts + 1,
  ),
  # LucidDreamer 2311.11284.
  'ism': Kind(
    'the prediction without text one step earlier',
    noising=INVERTED,
    may_choose_noising=False,
  ),
  # Score Distillation via Inversion 2405.15891.
  'sdi': Kind(
    'the render itself',
    noising=INVERTED,
    may_choose_noising=False,
    rows=lambda num_texts: 2 * num_texts,
  ),
  # Delta Denoising Score 2304.07090.
  'dds': Kind(
    "the same prediction for the start's render and its text",
    may_choose_noising=False,
    needs_negative=True,
    needs_start=True,
    imbalance='',
    rows=lambda num_texts: 2 * num_texts + 2,
  ),
}
OBJECTIVES = tuple(KINDS)

NFSD_CLEAN_T = 0.2  # Below, a network's prediction without text only denoises.
ASD_SHIFT = 0.1  # The later time is at most (1 + this) t.
INVERSION_STEPS = 5  # From a clean render to the earlier of two times.
INVERSION_GAP = 0.05  # Of t, between the two times.
SDI_STEPS = 10


class Chosen(Protocol):
  """A choice of a kind of guidance, such as `messages.PriorOptions`."""

  @property
  def objective(self) -> str:
    """A key of `KINDS`."""

  @property
  def noising(self) -> str:
    """One of `NOISINGS`."""


def is_inverted(options: Chosen) -> bool:
  """Returns whether a prior's renders are led up by DDIM inversion."""
  return (options.noising or KINDS[options.objective].noising) == INVERTED


def add_source(text: str, source: str) -> str:
  """Returns the text that `bridge` compares with, of one text."""
  return f'{text} , {source}'
