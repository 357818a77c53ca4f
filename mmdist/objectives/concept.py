"""Concepts as values: `objective = grinch + 0.5 * plain - 0.3 * smile`.

Owns which prior is asked for which text with which signed weight (method.md
section 2). Weights are kept as the exact decimals that a person typed, so sums
do not depend on the order of writing and opposite concepts cancel exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import fractions
import math
import numbers

from mmdist.config import schema
from mmdist.core import messages
from mmdist.core import names
from mmdist.objectives import prompts
from mmdist.objectives import texts


def exact(weight: float | fractions.Fraction) -> fractions.Fraction:
  """Returns the shortest decimal that reads as `weight`, exactly."""
  if isinstance(weight, fractions.Fraction):
    return weight
  if not math.isfinite(weight):
    raise ValueError(f'a concept has weight {weight}; expected a number.')
  return fractions.Fraction(repr(float(weight)))


@dataclasses.dataclass(frozen=True)
class Concept:
  """One text that one prior is asked about.

  Attributes:
    prior: name of the prior.
    channel: the renders that this prior looks at.
    text: what a person typed.
    weight: alpha > 0 or -beta < 0 (method.md O6); any number, kept exactly.
    guidance_scale: classifier-free guidance of the base (O15).
    prompt_template: how this prior wants the text put; see `prompts`.
    prompt_prefix: opens what this prior reads.
  """

  prior: str
  channel: messages.Channel
  text: str
  weight: fractions.Fraction | float = 1.0
  guidance_scale: float = 4.0
  prompt_template: str = '{prompt}'
  prompt_prefix: str = ''

  def __post_init__(self):
    object.__setattr__(self, 'weight', exact(self.weight))

  @property
  def prompt(self) -> str:
    """The text as the prior reads it, without view words."""
    return self.prompt_of_view('')

  def prompt_of_view(self, word: str) -> str:
    """Returns the text as the prior reads it about a view of this name."""
    return prompts.compose(
      self.prompt_template, self.prompt_prefix, self.text, word
    )

  @property
  def key(self) -> tuple:
    """What makes two concepts the same question; also the order of terms."""
    question = dataclasses.replace(self, weight=0)
    return dataclasses.astuple(question)


@dataclasses.dataclass(frozen=True)
class ComposedObjective:
  """A signed sum of concepts (Eq 5 and 6), always in the same order.

  Supports +, - and multiplication by a number. Equal questions are one term;
  a term whose weights cancel is gone.

  Attributes:
    terms: concepts with distinct keys and weights other than zero, sorted.
  """

  terms: tuple[Concept, ...] = ()

  def __post_init__(self):
    object.__setattr__(self, 'terms', _merge(self.terms))

  @property
  def priors(self) -> tuple[str, ...]:
    """Names of the priors that are asked, sorted."""
    return tuple(sorted({term.prior for term in self.terms}))

  @property
  def channels(self) -> tuple[messages.Channel, ...]:
    """The channels that have to be rendered."""
    asked = {term.channel for term in self.terms}
    return tuple(c for c in messages.CHANNELS if c in asked)

  def of_prior(self, prior: str) -> tuple[Concept, ...]:
    """Returns the concepts of one prior, in the order of its request."""
    return tuple(term for term in self.terms if term.prior == prior)

  def __add__(self, other: 'ComposedObjective') -> 'ComposedObjective':
    if not isinstance(other, ComposedObjective):
      return NotImplemented
    return ComposedObjective(self.terms + other.terms)

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
        dataclasses.replace(term, weight=scale * term.weight)
        for term in self.terms
      )
    )

  __rmul__ = __mul__


def _merge(terms: Iterable[Concept]) -> tuple[Concept, ...]:
  """Adds the weights of equal questions, drops zeros, sorts by question."""
  weights = {}
  for term in terms:
    weights.setdefault(term.key, [term, fractions.Fraction()])[1] += term.weight
  merged = sorted(weights.items(), key=lambda item: item[0])
  return tuple(
    dataclasses.replace(term, weight=weight)
    for _, (term, weight) in merged
    if weight
  )


def avatar(
  text: str, priors: Mapping[str, schema.PriorConfig]
) -> ComposedObjective:
  """Returns L_ours(text), Eq 4: every prior asked for one text (O9).

  Args:
    text: a sentence, e.g. 'a portrait of a happy man'.
    priors: name -> prior; its weight is lambda of Eq 4.

  Raises:
    ValueError: the text is empty or too long, or a template has no place.
  """
  text = prompts.check_prompt(text)
  for name, prior in priors.items():
    prompts.check_template(name, prior.prompt_template)
  return ComposedObjective(
    tuple(
      Concept(
        name,
        prior.channel,
        text,
        prior.weight,
        float(prior.guidance_scale),
        prior.prompt_template,
        prior.prompt_prefix,
      )
      for name, prior in priors.items()
    )
  )


def weighted_texts(run: schema.RunConfig) -> list[tuple[str, float]]:
  """Returns the texts that a run is about, and how much: its concepts.

  A run without concepts is about its prompt. Positive weights come first, the
  largest of them first; a weight of 0 asks nothing and is left out.
  """
  terms = [(c.text, c.weight) for c in run.concepts if c.weight]
  terms = terms or [(run.prompt, 1.0)]
  return sorted(terms, key=lambda term: -term[1])


def describe(terms: Sequence[tuple[str, float]]) -> str:
  """Returns a signed sum of texts as a person would write it.

  For example '0.6 a happy man + 0.4 a sad man - 0.3 green hair'; a single text
  of weight 1 is that text.

  Args:
    terms: texts with their weights, in the order in which they are written.
  """
  if len(terms) == 1 and terms[0][1] == 1:
    return terms[0][0]
  words = []
  for text, weight in terms:
    sign = '-' if weight < 0 else '+'
    words += [sign] * bool(words or weight < 0) + [f'{abs(weight):g}', text]
  return ' '.join(words)


def signed_sum(objective: ComposedObjective) -> dict[messages.Channel, float]:
  """Returns S per channel: the sum of its signed weights (O8)."""
  return {
    channel: float(
      sum(t.weight for t in objective.terms if t.channel == channel)
    )
    for channel in objective.channels
  }


def balance_warnings(objective: ComposedObjective) -> list[str]:
  """Returns one line per channel whose concepts have no fixed point (O8)."""
  return [
    f"the weights on channel '{channel}' add up to S = {total:g}; expected "
    'S > 0, else the proxies cancel or repel and nothing holds the avatar: '
    f'raise a positive weight, or lower a negative one, by more than '
    f'{-total:g}.'
    for channel, total in signed_sum(objective).items()
    if total <= 0
  ]


def objective_from_config(run: schema.RunConfig) -> ComposedObjective:
  """Returns the objective of a run: its concepts, or else its prompt.

  Raises:
    ValueError: in one line; no prior is enabled, a concept asks a prior that
      is not running, a text is empty or too long, or nothing pulls.
  """
  running = {
    name: texts.with_prefix(prior, run.views)
    for name, prior in run.priors.items()
    if prior.enabled
  }
  if not running:
    raise ValueError(
      'no prior is enabled; expected at least one of: '
      f'{", ".join(run.priors) or "none are configured"}.'
    )
  concepts = run.concepts or [schema.ConceptConfig(text=run.prompt)]
  objective = ComposedObjective()
  for concept in concepts:
    asked = concept.priors or tuple(running)
    for name in asked:
      _check_running(concept.text, name, running)
    part = avatar(concept.text, {name: running[name] for name in asked})
    objective += concept.weight * part
  if not any(term.weight > 0 for term in objective.terms):
    raise ValueError(
      'no concept has a positive weight left, so nothing says what the avatar '
      'should become; give at least one concept and one prior a weight > 0.'
    )
  return objective


def _check_running(text: str, name: str, running: Iterable[str]) -> None:
  if name not in running:
    hint = names.did_you_mean(name, running) or '.'
    raise ValueError(
      f"concept '{text[:80]}' asks prior '{name}', which is not running{hint} "
      f'Priors: {", ".join(running)}.'
    )
