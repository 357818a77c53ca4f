"""How much a concept counts in the course of a run.

A schedule is a factor on a concept's weight, as a function of the run's
progress: 0 at the first step, 1 at the last. It is written as text, so that it
fits in a configuration file and in a flag:

  constant                        1 all the time, as without a schedule
  linear(1, 0)                    from 1 to 0 in a straight line
  cosine(0, 1)                    from 0 to 1 along half a cosine
  piecewise(0: 1, 0.5: 1, 1: 0)   straight lines between factors at shares of
                                  the run
"""

from collections.abc import Sequence
import dataclasses
import math
import re

from mmdist.core import errors

KINDS = ('constant', 'linear', 'cosine', 'piecewise')
_FORMS = (
  'constant, linear(A, B), cosine(A, B) or piecewise(SHARE: A, SHARE: B, ...)'
)


@dataclasses.dataclass(frozen=True)
class Schedule:
  """A factor as a function of a run's progress.

  Attributes:
    kind: one of `KINDS`.
    points: (share of the run, factor), shares increasing. 'constant' has none;
      'linear' and 'cosine' have one at 0 and one at 1.
  """

  kind: str = 'constant'
  points: tuple[tuple[float, float], ...] = ()

  def factor(self, progress: float) -> float:
    """Returns the factor at a progress in [0, 1]."""
    if not self.points:
      return 1.0
    for (start, first), (end, last) in zip(
      self.points, self.points[1:], strict=False
    ):
      if start <= progress < end:
        share = (progress - start) / (end - start)
        if self.kind == 'cosine':
          share = (1 - math.cos(math.pi * share)) / 2
        return first + share * (last - first)
    # Before the first point and after the last one, their factors hold.
    return self.points[0 if progress < self.points[0][0] else -1][1]


CONSTANT = Schedule()


def progress_at(step: int, num_steps: int) -> float:
  """Returns the progress at a step: 0 at the first one, 1 at the last."""
  return min(step / max(num_steps - 1, 1), 1.0)


def parse(text: str) -> Schedule:
  """Reads a schedule as the module's docstring writes it; '' is constant.

  Raises:
    UserError: in one line; the form is unknown, a word is not a finite number,
      or the shares do not increase within [0, 1].
  """
  form = re.fullmatch(r'\s*(\w+)\s*(?:\((.*)\))?\s*', text)
  if not text.strip() or form and form.groups() == ('constant', None):
    return CONSTANT
  if not form or form[1] not in KINDS[1:] or form[2] is None:
    raise errors.UserError(f"schedule '{text}' is unknown; expected {_FORMS}.")
  parts = [part.split(':') for part in form[2].split(',')]
  is_piecewise = form[1] == 'piecewise'
  if not is_piecewise:
    # 'linear' and 'cosine' give two factors only, at the run's shares 0 and 1.
    parts = [[str(i), *part] for i, part in enumerate(parts)]
  if any(len(part) != 2 for part in parts) or not (
    is_piecewise or len(parts) == 2
  ):
    raise errors.UserError(
      f"schedule '{text}' is not complete; expected {_FORMS}."
    )
  points = tuple((_number(a, text), _number(b, text)) for a, b in parts)
  _check_shares([share for share, _ in points], text)
  return Schedule(form[1], points)


def _number(word: str, text: str) -> float:
  try:
    number = float(word)
  except ValueError:
    number = math.nan
  if not math.isfinite(number):
    raise errors.UserError(
      f"schedule '{text}' has '{word.strip()}'; expected a number."
    )
  return number


def _check_shares(shares: Sequence[float], text: str) -> None:
  increasing = all(a < b for a, b in zip(shares, shares[1:], strict=False))
  if not increasing or shares[0] < 0 or shares[-1] > 1:
    raise errors.UserError(
      f"schedule '{text}' has shares {', '.join(f'{s:g}' for s in shares)}; "
      'expected increasing shares of the run, from 0 to 1.'
    )


def canonical(text: str) -> str:
  """Returns the one spelling of a schedule; '' for a constant one.

  Raises:
    UserError: as `parse`.
  """
  schedule = parse(text)
  if not schedule.points or all(f == 1 for _, f in schedule.points):
    return ''
  inner = [
    f'{_show(s)}: {_show(f)}' if schedule.kind == 'piecewise' else _show(f)
    for s, f in schedule.points
  ]
  return f'{schedule.kind}({", ".join(inner)})'


def _show(number: float) -> str:
  return repr(number).removesuffix('.0')


def moments(texts: Sequence[str]) -> list[float]:
  """Returns shares of the run at which a sum of weights may be extreme.

  Sums of straight lines are extreme at their points. Cosines bend in between,
  so where anything is scheduled 101 evenly spaced shares are returned as well.

  Args:
    texts: schedules of the weights.
  """
  found = {i / 100 for i in range(101)} if any(texts) else {0.0}
  for text in texts:
    found.update(share for share, _ in parse(text).points)
  return sorted(found)
