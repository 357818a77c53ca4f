"""What is checked of a run, and said about it, before anything is loaded."""

from collections.abc import Sequence

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import score_requests
from mmdist.objectives import texts
from mmdist.run import recipes as recipes_lib


def check_priors(
  objective: binding.BoundObjective, config: schema.RunConfig
) -> None:
  """Checks the priors' files, and that each knows the words it will read.

  Priors that are Python objects have no files and are not checked.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  for name, sent in texts.texts_of(objective, config.views).items():
    prior = config.priors[name]
    if not recipes_lib.is_object(prior):
      check_files(prior, sorted(sent))


def check_devices(recipes: Sequence[messages.PriorRecipe]) -> None:
  """Checks that this machine, which will host the priors, has their devices.

  Raises:
    UserError: in one line, with the prior's name.
  """
  for recipe in recipes:
    device = recipe.spec.options.device
    # Those that every machine has are not looked for: that imports torch.
    if recipe.is_given or device in (messages.AUTO, 'cpu'):
      continue
    from mmdist.priors import devices

    try:
      devices.resolve_device(device)
    except errors.UserError as error:
      raise errors.UserError(f'priors.{recipe.spec.name}: {error}') from error


def check_views(
  objective: binding.BoundObjective, config: schema.RunConfig
) -> None:
  """Checks that views can be drawn, and dealt to the priors if they are to be.

  Raises:
    UserError: in one line; `views.emphasis` names no view or leaves none, or
      there are fewer views than priors that share them.
  """
  orbits.cumulative_odds(orbits.VIEW_WORDS, config.views.emphasis)
  if config.views.deal:
    score_requests.deal_views(objective, config.views.num_views, step=0)


def check_files(prior: messages.PriorOptions, sent: Sequence[str]) -> None:
  """Checks one prior's files, and that it knows the words it will read.

  Args:
    prior: its options.
    sent: every text that it will be sent.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  # Here, because it may import torch: other mistakes are told before that.
  from mmdist.priors import checks
  from mmdist.priors import locate

  found = locate.locate(prior.directory, prior.base)
  checks.check_prior(found, sent, prior.all_loras, prior.prompt_chunks)
  if guidance_kinds.is_inverted(prior):
    checks.check_inversion(found)


def describe(
  objective: binding.BoundObjective,
  config: schema.RunConfig,
  recipes: Sequence[messages.PriorRecipe],
  num_cores: int,
  where: str,
) -> list[str]:
  """Returns what a run will do, for a person to read before it begins.

  What it needs in memory is not in it; see `memory_estimate`.

  Args:
    objective: what is asked.
    config: of the run.
    recipes: of the priors; none if the executor was running before.
    num_cores: that the learner computes on, where it has no GPU.
    where: in words, where the priors run.
  """
  views = config.views
  lines = [
    f'learner  on this machine, {num_cores} cores; {views.num_views} views of '
    f'{views.resolution} x {views.resolution} pixels a step, '
    f'{f"in {views.micro_batches} parts, " * (views.micro_batches > 1)}'
    f'{config.num_steps} steps'
  ]
  words = texts.view_words(views)
  for name in objective.priors:
    prior = config.priors[name]
    threads = {r.spec.name: r.spec.num_threads for r in recipes}.get(name)
    on = f', {threads} thread{"s" * (threads > 1)}' if threads else ''
    lines.append(
      f'prior    {name}: {prior.directory}, {prior.channel}, {where}{on}'
    )
    lines += [
      f"  reads  {float(term.weight):+g} '{term.prompt}'"
      f'{f" and with each of {len(words)} view words" * bool(words)}'
      f'{f", {term.schedule}" * bool(term.schedule)}'
      f'{_against(term)}'
      for term in objective.of_prior(name)
    ]
  sums = binding.signed_sum(objective)
  lines.append(
    f'balance  {", ".join(f"{c} S = {total:g}" for c, total in sums.items())}'
    f'; composed by {config.mode}'
  )
  lines.append(f'open     {left_open(objective, config)}')
  return lines


def _against(term: binding.PriorConcept) -> str:
  if not term.negative_prompt:
    return ''
  return f", {term.objective} with the negative '{term.negative_prompt}'"


def left_open(
  objective: binding.BoundObjective, config: schema.RunConfig
) -> str:
  """Returns this run's choices where the paper is silent (docs/method.md)."""
  priors = [config.priors[name] for name in objective.priors]

  def each(field: str) -> str:
    values = dict.fromkeys(getattr(prior, field) for prior in priors)
    return ' or '.join(map(str, values))

  noise = config.noise
  return (
    f'the paper leaves open, and here are: w(t) {each("weighting")}, noise of '
    f"the proxy's fits {each('proxy_noise')}, one proxy per "
    f'{each("proxy_per")}, t in [{noise.minimum:g}, {noise.maximum:g}] '
    f'{noise.schedule}, rate of the code '
    f'x{config.learner.code_learning_rate_ratio:g}'
  )
