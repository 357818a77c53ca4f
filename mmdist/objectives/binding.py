"""Concepts meet priors: which prior is asked for which text, how strongly.

A `concept.ComposedObjective` says what a person wants. A `BoundObjective` has
one term for each concept and each prior that is asked for it; the weight of
such a term is the concept's times the prior's. These weights are what the
requests to the priors carry (docs/method.md, section 2).
"""

from collections.abc import Iterable, Mapping
import dataclasses
import fractions

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.core import names
from mmdist.objectives import concept as concept_lib
from mmdist.objectives import prompts
from mmdist.objectives import schedules
from mmdist.objectives import texts


@dataclasses.dataclass(frozen=True)
class PriorConcept:
  """One text that one prior is asked about.

  Attributes:
    prior: name of the prior.
    channel: the renders that this prior looks at.
    text: what a person typed.
    weight: the concept's weight times the prior's, kept exactly.
    guidance_scale: classifier-free guidance of the frozen model; 1 is none.
    prompt_template: the sentence that this prior reads, with a placeholder for
      the text; see `prompts.fill_template`.
    prompt_prefix: opens what this prior reads; '' for none.
    schedule: a factor on the weight, see `schedules`; '' is constant.
    objective: the kind of guidance, a key of `guidance_kinds.KINDS`.
    negative_prompt: what is guided away from, as the prior reads it; '' is the
      empty text.
    negative_share: factor on it in `csd`, as a share of the guidance scale.
    negative_schedule: a factor on that, see `schedules`.
  """

  prior: str
  channel: messages.Channel
  text: str
  weight: fractions.Fraction | float = 1.0
  guidance_scale: float = schema.PriorConfig.guidance_scale
  prompt_template: str = '{prompt}'
  prompt_prefix: str = ''
  schedule: str = ''
  objective: str = schema.PriorConfig.objective
  negative_prompt: str = ''
  negative_share: float = schema.PriorConfig.negative_share
  negative_schedule: str = ''

  def __post_init__(self) -> None:
    object.__setattr__(self, 'weight', concept_lib.exact(self.weight))

  @property
  def prompt(self) -> str:
    """The text as the prior reads it, without view words."""
    return self.prompt_of_view('')

  def prompt_of_view(self, word: str) -> str:
    """Returns the text as the prior reads it about a view of this name."""
    return prompts.compose(
      self.prompt_template, self.prompt_prefix, self.text, word
    )

  def weight_at(self, progress: float) -> float:
    """Returns the signed weight at a progress in [0, 1] of the run."""
    return float(self.weight) * schedules.parse(self.schedule).factor(progress)

  def texts_of_view(self, word: str) -> tuple[str, ...]:
    """Returns all that the prior reads about a view of this name."""
    text = self.prompt_of_view(word)
    if not self.negative_prompt:
      return (text,)
    if guidance_kinds.KINDS[self.objective].adds_negative:
      return text, guidance_kinds.add_source(text, self.negative_prompt)
    return text, self.negative_prompt

  def negative_scale_at(self, progress: float) -> float:
    """Returns the factor on the negative text at a progress in [0, 1]."""
    factor = schedules.parse(self.negative_schedule).factor(progress)
    return self.guidance_scale * self.negative_share * factor

  @property
  def needs_start(self) -> bool:
    """Whether renders are compared with those of the run's start."""
    return guidance_kinds.KINDS[self.objective].needs_start

  @property
  def key(self) -> tuple:
    """Equal for terms that ask the same; terms are sorted by it."""
    return dataclasses.astuple(dataclasses.replace(self, weight=0))


@dataclasses.dataclass(frozen=True)
class BoundObjective:
  """All questions to all priors, always in the same order.

  Attributes:
    terms: with distinct keys and weights other than zero, sorted.
  """

  terms: tuple[PriorConcept, ...] = ()

  def __post_init__(self) -> None:
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

  def of_prior(self, prior: str) -> tuple[PriorConcept, ...]:
    """Returns the terms of one prior, in the order of its request."""
    return tuple(term for term in self.terms if term.prior == prior)


def _merge(terms: Iterable[PriorConcept]) -> tuple[PriorConcept, ...]:
  """Adds the weights of equal questions, drops zeros, sorts by question."""
  weights: dict[tuple, fractions.Fraction | float] = {}
  first: dict[tuple, PriorConcept] = {}
  for term in terms:
    first.setdefault(term.key, term)
    weights[term.key] = weights.get(term.key, fractions.Fraction()) + (
      term.weight
    )
  return tuple(
    dataclasses.replace(first[key], weight=weights[key])
    for key in sorted(weights)
    if weights[key]
  )


def bind(
  objective: concept_lib.ComposedObjective,
  priors: Mapping[str, schema.PriorConfig],
) -> BoundObjective:
  """Asks every prior for each concept that concerns it.

  Args:
    objective: what a person wants.
    priors: by name, all that run; a prior's weight is lambda of MagicMirror's
      equation 4.

  Raises:
    UserError: a concept asks a prior that is not running, or a template has
      no place for the text.
  """
  for name, prior in priors.items():
    prompts.check_template(name, prior.prompt_template)
  terms = []
  for concept in objective.concepts:
    for name in concept.priors or tuple(priors):
      _check_running(concept.text, name, priors)
      prior = priors[name]
      terms.append(
        PriorConcept(
          name,
          prior.channel,
          concept.text,
          concept.weight * concept_lib.exact(prior.weight),
          float(prior.guidance_scale),
          prior.prompt_template,
          prior.prompt_prefix,
          concept.schedule,
          prior.objective,
          _negative_of(name, prior, concept),
          float(prior.negative_share),
          schedules.canonical(prior.negative_schedule),
        )
      )
  return BoundObjective(tuple(terms))


def _negative_of(
  name: str, prior: schema.PriorConfig, concept: concept_lib.Concept
) -> str:
  """Returns what a prior guides a concept away from."""
  kind = guidance_kinds.KINDS[prior.objective]
  negative = (
    concept.negative_prompt
    or prompts.check_negative(prior.negative_prompt)
    or kind.negative_prompt
  )
  if kind.needs_negative and not negative:
    raise errors.UserError(
      f'priors.{name}.objective={prior.objective} compares with '
      f'{kind.reference}, and no text says what the start is; expected '
      f'priors.{name}.negative_prompt, or one of the concept '
      f"'{concept.text[:80]}'."
    )
  return negative


def bind_config(run: schema.RunConfig) -> BoundObjective:
  """Returns what a run asks of its enabled priors.

  Raises:
    UserError: in one line; no prior is enabled, a concept asks a prior that
      is not running, a text is empty or too long, or no weight is positive.
  """
  running = {
    name: texts.with_prefix(prior, run.views)
    for name, prior in run.priors.items()
    if prior.enabled
  }
  if not running:
    raise errors.UserError(
      'no prior is enabled; expected at least one of: '
      f'{", ".join(run.priors) or "none are configured"}.'
    )
  bound = bind(concept_lib.from_config(run), running)
  if not any(
    term.weight_at(moment) > 0
    for moment in _moments(bound)
    for term in bound.terms
  ):
    raise errors.UserError(
      'no concept has a positive weight left, so nothing says what the avatar '
      'should become; give at least one concept and one prior a weight > 0.'
    )
  return bound


def signed_sum(
  objective: BoundObjective, progress: float = 1.0
) -> dict[messages.Channel, float]:
  """Returns S per channel: the sum of its signed weights.

  Args:
    objective: what is asked.
    progress: at which share of the run scheduled weights are taken.
  """
  totals = {}
  for channel in objective.channels:
    terms = [term for term in objective.terms if term.channel == channel]
    # Weights that no schedule touches are added exactly.
    fixed = sum(t.weight for t in terms if not t.schedule)
    moving = sum(t.weight_at(progress) for t in terms if t.schedule)
    totals[channel] = float(fixed) + moving
  return totals


def _moments(objective: BoundObjective) -> list[float]:
  return schedules.moments([term.schedule for term in objective.terms])


def balance_warnings(objective: BoundObjective) -> list[str]:
  """Returns one line per channel whose signed weights have no fixed point.

  With S <= 0 the references of most kinds of guidance cancel or repel, so that
  nothing holds the avatar where it is (docs/method.md, section 2, 'Balance').
  Terms of kinds that compare two texts need no balance and are left out.
  Scheduled weights are looked at over the whole run, and S is told where it is
  lowest.
  """
  held = BoundObjective(
    tuple(
      t for t in objective.terms if guidance_kinds.KINDS[t.objective].imbalance
    )
  )
  lowest: dict[messages.Channel, tuple[float, float]] = {}
  for moment in _moments(held):
    for channel, total in signed_sum(held, moment).items():
      lowest[channel] = min(
        lowest.get(channel, (total, moment)), (total, moment)
      )
  is_scheduled = any(term.schedule for term in held.terms)
  return [
    f"the weights on channel '{channel}' add up to S = {total:g}"
    f'{f" at {moment:.0%} of the run" * is_scheduled}; expected '
    f'S > 0, else {_imbalance(held, channel)} and nothing holds the avatar: '
    'raise a positive weight, or weaken a negative one, by more than '
    f'{abs(total):g}.'
    for channel, (total, moment) in lowest.items()
    if total <= 0
  ]


def _imbalance(objective: BoundObjective, channel: messages.Channel) -> str:
  """Returns what S <= 0 does on a channel, by its kinds of guidance."""
  kinds = {t.objective for t in objective.terms if t.channel == channel}
  if kinds == {'vsd'}:
    return 'the proxies cancel or repel'
  return ', and '.join(
    f'with {kind} {guidance_kinds.KINDS[kind].imbalance}'
    for kind in sorted(kinds)
  )


def _check_running(text: str, name: str, running: Iterable[str]) -> None:
  if name not in running:
    hint = names.did_you_mean(name, running) or '.'
    raise errors.UserError(
      f"concept '{text[:80]}' asks prior '{name}', which is not running{hint} "
      f'Priors: {", ".join(running)}.'
    )
