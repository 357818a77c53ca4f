"""What is checked of a run, and said about it, before anything is loaded."""

from collections.abc import Hashable, Mapping, Sequence
import dataclasses
import pathlib
import re
from typing import TYPE_CHECKING

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import score_requests
from mmdist.objectives import texts
from mmdist.run import recipes as recipes_lib

if TYPE_CHECKING:
  from mmdist.priors import footprint


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
      check_files(prior.directory, sorted(sent), prior.lora)


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


def check_files(directory: str, sent: Sequence[str], lora: str = '') -> None:
  """Checks one prior's files, and that it knows the words it will read.

  Args:
    directory: as a configuration names it.
    sent: every text that it will be sent.
    lora: of the user's own; '' for none.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  # Here, because it imports torch: other mistakes are told before that.
  from mmdist.priors import checks
  from mmdist.priors import locate

  checks.check_prior(locate.locate(directory), sent, lora)


def describe(
  objective: binding.BoundObjective,
  config: schema.RunConfig,
  recipes: Sequence[messages.PriorRecipe],
  num_cores: int,
  where: str,
) -> list[str]:
  """Returns what a run will do, for a person to read before it begins.

  What the priors need in memory is not in it; see `estimate_memory`.

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
      for term in objective.of_prior(name)
    ]
  sums = binding.signed_sum(objective)
  lines.append(
    f'balance  {", ".join(f"{c} S = {total:g}" for c, total in sums.items())}'
    f'; composed by {config.mode}'
  )
  lines.append(f'open     {_left_open(objective, config)}')
  return lines


def _left_open(
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


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
  """The memory that priors will need.

  Attributes:
    footprints: of each prior that has files, by its name.
    models: which frozen model each of them will have; equal where they share.
    on_cpu: the names of those that are on the CPU.
  """

  footprints: Mapping[str, 'footprint.Footprint']
  models: Mapping[str, Hashable]
  on_cpu: Sequence[str]

  def lines(self) -> list[str]:
    """Returns lines about the memory of each prior."""
    from mmdist.priors import footprint

    if not self.footprints:
      return []
    return footprint.format_lines(self.footprints, self.models)

  def check(self) -> None:
    """Checks that the priors fit into the memory of this machine's CPU.

    Priors on a GPU are not checked: only the device knows what is free there.

    Raises:
      UserError: in one line.
    """
    from mmdist.priors import footprint

    needed, _ = footprint.sum_of(
      {name: self.footprints[name] for name in self.on_cpu}, self.models
    )
    there = available_memory()
    if there is not None and needed > there:
      raise errors.UserError(
        f'the priors {", ".join(self.on_cpu)} need about '
        f'{needed / 2**30:.1f} GiB and this machine has {there / 2**30:.1f} '
        'GiB free; take a smaller dtype or memory.text_dtype, fewer priors, or '
        'more machines (--ray_address).'
      )


def estimate_memory(
  recipes: Sequence[messages.PriorRecipe],
  num_views: int,
  num_texts: Mapping[str, int] | None = None,
) -> MemoryEstimate:
  """Estimates what priors will need, and loads none of them.

  Args:
    recipes: of the priors; those that have no files are left out.
    num_views: that each looks at in a step.
    num_texts: by prior, how many different texts it is asked for, as
      `count_texts` returns it; one for a prior that is not in it.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong with the files.
  """
  with_files = [r for r in recipes if recipes_lib.has_files(r)]
  if not with_files:
    return MemoryEstimate({}, {}, [])
  from mmdist.priors import footprint

  asked = num_texts or {}
  return MemoryEstimate(
    {
      r.spec.name: footprint.estimate(
        r.spec, num_views, asked.get(r.spec.name, 1)
      )
      for r in with_files
    },
    {r.spec.name: _model_of(r) for r in with_files},
    [r.spec.name for r in with_files if footprint.is_on_cpu(r.spec)],
  )


def count_texts(objective: binding.BoundObjective) -> dict[str, int]:
  """Returns how many different texts each prior is asked for."""
  return {
    name: len({term.prompt for term in objective.of_prior(name)})
    for name in objective.priors
  }


def _model_of(recipe: messages.PriorRecipe) -> tuple | None:
  """Returns what priors agree in that will share a frozen model.

  The files are told by their paths here: reading them takes too long.
  """
  options = recipe.spec.options
  files = f'{options.directory} {options.lora}'
  return dataclasses.replace(recipe.spec, files=files).sharing_key


def available_memory() -> int | None:
  """Returns the bytes that programs can still have; None if not known."""
  try:
    text = pathlib.Path('/proc/meminfo').read_text(encoding='ascii')
  except OSError:  # Another system.
    return None
  found = re.search(r'^MemAvailable:\s+(\d+) kB', text, re.MULTILINE)
  return int(found[1]) * 1024 if found else None
