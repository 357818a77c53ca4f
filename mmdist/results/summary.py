"""What the report of a run says in words: what was asked, and how it went."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from mmdist.config import schema
from mmdist.core import progress
from mmdist.core import tables
from mmdist.objectives import concept as concept_lib
from mmdist.run import early_warnings

_VERSIONS = ('mmdist', 'python', 'jax', 'torch', 'flax', 'optax', 'peft')


@dataclasses.dataclass(frozen=True)
class Judgement:
  """What a judge sees of what was asked.

  Attributes:
    overall: agreement in [0, 1].
    chance: what guessing would get, in [0, 1].
    per_concept: `Concept.key` -> agreement; None where the judge cannot tell.
  """

  overall: float
  chance: float
  per_concept: Mapping[tuple, float | None]


def facts(
  run: schema.RunConfig,
  metrics: Sequence[Mapping[str, Any]],
  sessions: Sequence[Mapping[str, Any]],
  judgement: Judgement | None = None,
) -> dict[str, str]:
  """Returns short lines about a run, name -> value.

  Args:
    run: its configuration.
    metrics: one mapping per step.
    sessions: see `mmdist.run.sessions`; what they do not say is left out.
    judgement: of the head, if there is one.
  """
  lines = {'composed by': run.mode} if run.concepts else {}
  if judgement is not None:
    lines['judge'] = (
      f'agrees to {judgement.overall:.0%} (guessing: {judgement.chance:.0%})'
    )
  done = int(metrics[-1]['step']) + 1 if metrics else run.num_steps
  lines['steps'] = (
    str(done) if done == run.num_steps else f'{done} of {run.num_steps}'
  )
  lines |= _duration(metrics)
  lines['seed'] = str(run.seed)
  if sessions:
    lines |= _session_facts(sessions)
  for number, line in enumerate(early_warnings.review(run, metrics), 1):
    lines[f'warning {number}'] = line
  return lines


def _duration(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  seconds = [row['step_seconds'] for row in metrics if 'step_seconds' in row]
  if not seconds:
    return {}
  # The first step waits for what is compiled, so the mean would mislead.
  median = sorted(seconds)[len(seconds) // 2]
  total = progress.format_seconds(sum(seconds))
  # Two digits of 123 s would be 1.2e+02.
  half = progress.format_seconds(median) if median >= 10 else f'{median:.2g} s'
  return {'duration': f'{total}, half of the steps within {half}'}


def _session_facts(sessions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  """Returns what the newest session says, and when the first one began."""
  first, last = sessions[0], sessions[-1]
  known = last.get('fingerprint', {})
  machine = [last.get('processor', '')]
  if known.get('cores'):
    machine.append(f'{known["cores"]} cores')
  machine.append(known.get('devices', ''))
  versions = [f'{n} {known[n]}' for n in _VERSIONS if n in known]
  began = (
    str(first.get('began', '')).replace('T', ' ').replace('+00:00', ' UTC')
  )
  if len(sessions) > 1:
    times = len(sessions) - 1
    began += f', and went on {"once" if times == 1 else f"{times} times"}'
  lines = {
    'began': began,
    'machine': ', '.join(filter(None, machine)),
    'versions': ', '.join(versions),
    'command': str(last.get('command', '')),
  }
  return {name: line for name, line in lines.items() if line}


def concepts(
  run: schema.RunConfig, judgement: Judgement | None = None
) -> tables.Table | None:
  """Returns the concepts with their weights; None for a run of one prompt.

  The weights are those of the last step, which the result is to be judged by.
  A concept that has faded until then has a weight of 0, and no judgement.
  """
  if not run.concepts:
    return None
  columns = ['concept', 'name', 'weight', 'schedule', 'priors', 'judge']
  rows = []
  for one, weight in concept_lib.weighted_concepts(run):
    seen = judgement.per_concept.get(one.key) if judgement else None
    rows.append(
      {
        'concept': one.text,
        'name': one.name or None,
        'weight': weight,
        'schedule': one.schedule or None,
        'priors': ', '.join(one.priors) or None,
        'judge': None if seen is None else f'{seen:.0%}',
      }
    )
  used = [c for c in columns if any(row[c] is not None for row in rows)]
  return tables.Table(tuple(used), tuple(rows))
