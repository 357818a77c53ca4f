"""Concepts as values: `objective = grinch + 0.5 * plain - 0.3 * smile`.

Owns the signed sum that a person writes: texts and weights, and nothing of the
priors that will read them; `binding` brings the two together. Weights are kept
as the exact decimals that a person typed, so that a sum does not depend on the
order of its terms, and opposite concepts cancel exactly.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import fractions
import math
import numbers

from mmdist.config import schema
from mmdist.core import errors
from mmdist.objectives import prompts
from mmdist.objectives import schedules


def exact(weight: float | fractions.Fraction) -> fractions.Fraction:
  """Returns the shortest decimal that reads as `weight`, exactly.

  Raises:
    UserError: the weight is NaN or infinite.
  """
  if isinstance(weight, fractions.Fraction):
    return weight
  if not math.isfinite(weight):
    raise errors.UserError(f'a concept has weight {weight}; expected a number.')
  return fractions.Fraction(repr(float(weight)))


@dataclasses.dataclass(frozen=True)
class Concept:
  """One text with a signed weight.

  Attributes:
    text: what a person typed, with single spaces.
    weight: positive for what the avatar should become, negative for what it
      should move away from; any number, kept exactly.
    priors: names of the priors that are asked for it; () stands for all.
    name: what grids and tables call it; may be empty.
    schedule: a factor on the weight as the run goes on, as
      `mmdist.objectives.schedules` writes it; '' is constant.
    negative_prompt: what is guided away from; '' is that of each prior.

  Raises:
    UserError: the text is empty or too long, the weight is not finite, or the
      schedule cannot be read.
  """

  text: str
  weight: fractions.Fraction | float = 1.0
  priors: tuple[str, ...] = ()
  name: str = ''
  schedule: str = ''
  negative_prompt: str = ''

  def __post_init__(self) -> None:
    object.__setattr__(self, 'text', prompts.check_prompt(self.text))
    object.__setattr__(self, 'weight', exact(self.weight))
    object.__setattr__(self, 'priors', tuple(self.priors))
    object.__setattr__(self, 'schedule', schedules.canonical(self.schedule))
    negative = prompts.check_negative(self.negative_prompt)
    object.__setattr__(self, 'negative_prompt', negative)

  @property
  def key(self) -> tuple[str, tuple[str, ...], str, str]:
    """Equal for concepts that are one term of a sum; terms are sorted by it."""
    return self.text, self.priors, self.schedule, self.negative_prompt


@dataclasses.dataclass(frozen=True)
class ComposedObjective:
  """A signed sum of concepts, always in the same order.

  Supports +, - and multiplication by a number. Concepts with the same texts,
  priors and schedule become one term; a term whose weights cancel is left out.

  Attributes:
    concepts: with distinct keys and weights other than zero, sorted.

  Source: MagicMirror, equations 5 and 6.
  """

  concepts: tuple[Concept, ...] = ()

  def __post_init__(self) -> None:
    object.__setattr__(self, 'concepts', _merge(self.concepts))

  def __add__(self, other: 'ComposedObjective') -> 'ComposedObjective':
    if not isinstance(other, ComposedObjective):
      return NotImplemented
    return ComposedObjective(self.concepts + other.concepts)

  def __neg__(self) -> 'ComposedObjective':
    return -1 * self

  def __sub__(self, other: 'ComposedObjective') -> 'ComposedObjective':
    if not isinstance(other, ComposedObjective):
      return NotImplemented
    return self + -other

  def __mul__(self, factor: float) -> 'ComposedObjective':
    if not isinstance(factor, numbers.Real):
      return NotImplemented
    scale = exact(factor)
    return ComposedObjective(
      tuple(
        dataclasses.replace(concept, weight=scale * concept.weight)
        for concept in self.concepts
      )
    )

  __rmul__ = __mul__

  def __str__(self) -> str:
    """Returns e.g. '0.6 a happy man + 0.4 a sad man - 0.3 green hair'."""
    return describe([(c.text, float(c.weight)) for c in self.concepts])


def weighted_concepts(
  run: schema.RunConfig, progress: float | None = None
) -> list[tuple[Concept, float]]:
  """Returns all concepts of a run with their weights, the largest first.

  Concepts with the same `key` are one. Those of equal weight stay in the order
  in which they were written; one that a schedule has faded has a weight of 0.

  Args:
    run: a configuration.
    progress: at which share of the run scheduled weights are taken; None takes
      its last step, which is what the result was asked to be.

  Raises:
    UserError: see `from_config`.
  """
  if progress is None:
    progress = schedules.progress_at(run.num_steps - 1, run.num_steps)
  merged = {one.key: one for one in from_config(run).concepts}
  written = dict.fromkeys(_from_config(one).key for one in _configs(run))
  found = [
    (one, float(one.weight) * schedules.parse(one.schedule).factor(progress))
    for one in (merged[key] for key in written if key in merged)
  ]
  # Without the sign of a zero, which a table would show.
  found = [(one, weight or 0.0) for one, weight in found]
  return sorted(found, key=lambda pair: -pair[1])


def weighted_texts(
  run: schema.RunConfig, progress: float | None = None
) -> list[tuple[str, float]]:
  """Returns the texts that a run is about, and how much.

  A run without concepts is about its prompt. The largest weight comes first; a
  weight of 0 asks nothing and is left out.

  Args:
    run: a configuration.
    progress: see `weighted_concepts`.

  Returns:
    Texts with weights; none if every concept has a weight of 0 then.
  """
  found = weighted_concepts(run, progress)
  return [(one.text, weight) for one, weight in found if weight]


def describe(terms: Sequence[tuple[str, float]]) -> str:
  """Returns a signed sum of texts as a person would write it.

  Args:
    terms: texts with their weights; positive ones are written first.
  """
  if len(terms) == 1 and terms[0][1] == 1:
    return terms[0][0]
  ordered = sorted(terms, key=lambda term: -term[1])
  words: list[str] = []
  for text, weight in ordered:
    sign = '-' if weight < 0 else '+'
    words += [sign] * bool(words or weight < 0) + [f'{abs(weight):g}', text]
  return ' '.join(words)


def title_of(run: schema.RunConfig) -> str:
  """Returns what a run is about, in one line.

  First what its result was asked to be, then the concepts that have faded to a
  weight of 0 at the end, with their schedules.
  """
  found = weighted_concepts(run)
  terms = [(one.text, weight) for one, weight in found if weight]
  faded = [
    f'{describe([(one.text, float(one.weight))])}, {one.schedule}'
    for one, weight in found
    if not weight
  ]
  return '; '.join([describe(terms)] * bool(terms) + faded)


def _merge(concepts: Iterable[Concept]) -> tuple[Concept, ...]:
  """Adds the weights of equal concepts, drops zeros, sorts by key."""
  merged: dict[tuple, Concept] = {}
  for concept in concepts:
    if concept.key in merged:
      before = merged[concept.key]
      merged[concept.key] = dataclasses.replace(
        before,
        weight=before.weight + concept.weight,
        name=before.name or concept.name,
      )
    else:
      merged[concept.key] = concept
  return tuple(merged[key] for key in sorted(merged) if merged[key].weight)


def avatar(
  text: str,
  priors: Iterable[str] = (),
  *,
  name: str = '',
  schedule: str = '',
  negative_prompt: str = '',
) -> ComposedObjective:
  """Returns the objective of one text, to be added to others.

  Args:
    text: a sentence, e.g. 'a portrait of a happy man'.
    priors: names of the priors that are asked for it; () stands for all.
    name: what grids and tables call it.
    schedule: a factor on its weight as the run goes on, such as
      'linear(1, 0)'; see `mmdist.objectives.schedules`.
    negative_prompt: what is guided away from; '' is that of each prior.

  Raises:
    UserError: a text is empty or too long, or the schedule cannot be read.

  Source: MagicMirror, equation 4.
  """
  concept = Concept(text, 1.0, tuple(priors), name, schedule, negative_prompt)
  return ComposedObjective((concept,))


def from_config(run: schema.RunConfig) -> ComposedObjective:
  """Returns what a run's configuration asks for: its concepts, or its prompt.

  Raises:
    UserError: a text is empty or too long, or a weight is not finite.
  """
  return ComposedObjective(tuple(map(_from_config, _configs(run))))


def _configs(run: schema.RunConfig) -> list[schema.ConceptConfig]:
  return run.concepts or [schema.ConceptConfig(text=run.prompt)]


def _from_config(one: schema.ConceptConfig) -> Concept:
  return Concept(
    one.text,
    one.weight,
    one.priors,
    one.name,
    one.schedule,
    one.negative_prompt,
  )


def to_config(objective: ComposedObjective) -> list[schema.ConceptConfig]:
  """Returns the concepts as a run's configuration stores them."""
  return [
    schema.ConceptConfig(
      c.text,
      float(c.weight),
      c.priors,
      c.name,
      c.schedule,
      c.negative_prompt,
    )
    for c in objective.concepts
  ]
