"""Which settings of a run may change when it is resumed, and which never can.

Fields are named by their paths, as `mmdist.config.serialization` prints them; a
name stands for all fields below it, so `learner` for `learner.learning_rate`.
The files of the priors' weights are fields of the same kind, below `weights`.
"""

from collections.abc import Iterable
import dataclasses
import functools
import re
from typing import Any

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors

WEIGHTS = 'weights'
# These decide nothing about the avatar, so they need no permission.
FREE = (
  'results',
  'checkpoints',
  'faults.deadline_s',
  'faults.deadline_factor',
  'faults.deadline_floor_s',
  'faults.build_deadline_s',
  'faults.max_losses',
  'faults.window_s',
)
# Where an actor is. Its `num_cpus` are its threads too, which decide bits.
_FREE_OF_A_PRIOR = r'priors\.\w+\.(num_gpus|resources|node_labels|colocate)\b.*'
_ONE_SET_OF_PRIORS = 'all checkpoints of a run hold the same proxies'
# Fields that can never change, since no checkpoint could be restored -> why.
_FIXED = {
  r'nerf\..*': 'it decides what the arrays of a checkpoint mean',
  r'priors\.\w+\.(rank|objective|proxy_per)': (
    'it decides what a saved proxy is'
  ),
  r'priors\.\w+\.enabled': _ONE_SET_OF_PRIORS,
}
# Every field of a prior but the entries of its mappings, which may come and go
# while the prior stays.
_A_PRIOR = r'priors\.\w+\.(?!resources\b|node_labels\b).*'


@dataclasses.dataclass(frozen=True)
class Change:
  """One field that is not what it was.

  Attributes:
    field: its path.
    before, after: its values; None where there was, or is, none.
  """

  field: str
  before: Any
  after: Any

  def __str__(self) -> str:
    return f'{self.field}: {_show(self.before)} -> {_show(self.after)}'

  @property
  def obstacle(self) -> str:
    """Why no run can go on after this change; '' if one can."""
    for pattern, reason in _FIXED.items():
      if re.fullmatch(pattern, self.field):
        return reason
    comes_or_goes = self.before is None or self.after is None
    if comes_or_goes and re.fullmatch(_A_PRIOR, self.field):
      return _ONE_SET_OF_PRIORS
    return ''


def _show(value: Any) -> str:
  return 'absent' if value is None else repr(value)


def find_changes(before: Any, after: Any) -> list[Change]:
  """Returns how two configurations, or trees of dicts, differ."""
  old, new = serialization.flatten(before), serialization.flatten(after)
  fields = [
    line.partition(': ')[0] for line in serialization.differences(before, after)
  ]
  return [Change(field, old.get(field), new.get(field)) for field in fields]


def is_below(field: str, names: Iterable[str]) -> bool:
  """Returns whether a field is one of those named, or below one of them."""
  return any(name in _prefixes(field) for name in names)


# A sweep asks this about the same fields of a thousand configurations.
@functools.lru_cache(maxsize=4096)
def is_free(field: str) -> bool:
  """Returns whether a field may change without being named."""
  return is_below(field, FREE) or bool(re.fullmatch(_FREE_OF_A_PRIOR, field))


def check_names(names: Iterable[str], *configs: schema.RunConfig) -> None:
  """Checks that each name is a field, or a part that holds fields.

  Raises:
    UserError: in one line, with the nearest name.
  """
  known = {WEIGHTS: None}  # A set that keeps its order.
  for config in configs:
    for path in serialization.flatten(config):
      known.update(dict.fromkeys(_prefixes(path)))
    known.update({f'{WEIGHTS}.{prior}': None for prior in config.priors})
  for name in names:
    _check_name(name, known)


def _check_name(name: str, known: Iterable[str]) -> None:
  above = ''
  for prefix in _prefixes(name):
    if prefix not in known:
      there = [k for k in known if (['', *_prefixes(k)])[-2] == above]
      part = _last_part(prefix, above)
      raise errors.UserError(
        '--resume_with_changes: '
        + serialization.unknown_field(
          name, part, [_last_part(k, above) for k in there]
        )
      )
    above = prefix


def _prefixes(path: str) -> list[str]:
  """Returns 'a', 'a[0]' and 'a[0].b' for 'a[0].b'."""
  return [path[: end.start()] for end in re.finditer(r'(?<=.)[.\[]|$', path)]


def _last_part(path: str, above: str) -> str:
  return path[len(above) :].lstrip('.')
