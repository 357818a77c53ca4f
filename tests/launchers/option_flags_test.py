"""Flags of a dataclass give back what was typed, and its own defaults."""

import dataclasses
import pathlib

from absl import flags
import pytest

from launchers import option_flags
from mmdist.core import options as options_lib

option = options_lib.option


@dataclasses.dataclass(frozen=True)
class Options:
  folder: str = option(options_lib.REQUIRED, 'Where.', is_path=True)
  flag: bool = option(False, 'Whether.')
  count: int = option(3, 'How many.', minimum=1)
  limit: int | None = option(None, 'At most.', maximum=9)
  rate: float = option(0.5, 'How fast.', minimum=0.0)
  kind: str = option('a', 'Which.', choices=('a', 'b'))
  names: tuple[str, ...] = option((), 'Some.')
  texts: tuple[str, ...] = option((), 'Sentences.', repeated=True)
  sizes: tuple[int, ...] = option((4, 8), 'Numbers.')


def parse(*words):
  values = flags.FlagValues()
  option_flags.define(Options, values)
  values(['program', *words])
  return option_flags.read(Options, values)


def test_without_flags_the_defaults_are_the_dataclasses_own():
  assert parse('--folder=x') == Options('x')


def test_every_type_is_read():
  assert parse(
    '--folder=x',
    '--flag',
    '--count=4',
    '--limit=5',
    '--rate=2',
    '--kind=b',
    '--names=a,b',
    '--texts=a man, old',
    '--texts=a woman',
    '--sizes=16,32',
  ) == Options(
    'x',
    True,
    4,
    5,
    2.0,
    'b',
    ('a', 'b'),
    ('a man, old', 'a woman'),
    (16, 32),
  )


def test_a_list_of_numbers_takes_numbers_only():
  assert parse('--folder=x', '--sizes=').sizes == ()
  with pytest.raises(ValueError, match='sizes is 4,x; expected whole numbers'):
    parse('--folder=x', '--sizes=4,x')


def test_the_home_folder_is_found_in_paths_only():
  options = parse('--folder=~/runs/a', '--names=~/b')
  assert options.folder == str(pathlib.Path.home() / 'runs/a')
  assert options.names == ('~/b',)


@pytest.mark.parametrize(
  'word', ['--count=0', '--limit=10', '--rate=-1', '--kind=c', '--flag=7']
)
def test_a_value_out_of_bounds_is_refused(word):
  with pytest.raises((flags.Error, ValueError)):
    parse('--folder=x', word)


def test_help_has_every_default_and_what_a_flag_takes():
  values = flags.FlagValues()
  option_flags.define(Options, values)
  text = option_flags.format_help(values)
  assert "--count: How many. (default: '3'; a positive integer)" in text
  assert '--[no]flag' in text and '<a|b>: Which.' in text
  assert '--folder: Where.\n' in text
  assert '--texts: Sentences.; repeat this option' in text


def test_a_type_that_has_no_flag_is_a_mistake_of_ours():
  @dataclasses.dataclass(frozen=True)
  class Odd:
    what: dict = option(None, 'What.')

  with pytest.raises(TypeError, match='has no flag'):
    option_flags.define(Odd, flags.FlagValues())
