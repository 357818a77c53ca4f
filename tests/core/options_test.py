import dataclasses
import math

import pytest

from mmdist.core import options as options_lib


@dataclasses.dataclass(frozen=True)
class Options:
  out: str = options_lib.option(options_lib.REQUIRED, 'Where.')
  kind: str = options_lib.option('a', 'Which.', choices=('alpha', 'a'))
  count: int | None = options_lib.option(None, 'How many.', minimum=1)
  share: float = options_lib.option(0.5, 'Of all.', minimum=0, maximum=1)
  pause: float = options_lib.option(1.0, 'Seconds.')


def test_a_default_stands_at_its_field_and_may_be_missing():
  assert (Options('x').share, Options.kind) == (0.5, 'a')
  with pytest.raises(TypeError, match='out'):
    Options()


def test_what_is_within_its_bounds_passes():
  options_lib.check(Options('x'))
  options_lib.check(Options('x', 'alpha', 1, 1.0))


@pytest.mark.parametrize(
  'changes, line',
  [
    ({'kind': 'alpa'}, "kind is 'alpa'; did you mean 'alpha'?"),
    ({'count': 0}, 'count is 0; expected at least 1.'),
    ({'share': 1.5}, 'share is 1.5; expected at most 1.'),
    ({'share': math.nan}, 'share is nan; expected a finite number.'),
    ({'pause': math.nan}, 'pause is nan; expected a finite number.'),
    ({'pause': math.inf}, 'pause is inf; expected a finite number.'),
    ({'pause': -math.inf}, 'pause is -inf; expected a finite number.'),
  ],
)
def test_what_is_not_is_one_line(changes, line):
  with pytest.raises(ValueError) as error:
    options_lib.check(dataclasses.replace(Options('x'), **changes))
  assert str(error.value).startswith(line)


def test_the_description_of_a_field_is_what_it_was_given():
  kind = dataclasses.fields(Options)[1]
  described = options_lib.describe(kind)
  assert described == options_lib.Description('Which.', choices=('alpha', 'a'))
