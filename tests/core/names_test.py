import pytest

from mmdist.core import names


def test_the_nearest_name_is_offered():
  assert names.did_you_mean('negatve', ['normal', 'negative']) == (
    "; did you mean 'negative'?"
  )


def test_nothing_is_offered_when_nothing_is_near():
  assert names.did_you_mean('xyz', ['normal']) == ''
  assert names.unknown('prior', 'xyz', [], 'Priors') == (
    "unknown prior 'xyz'. Priors: none."
  )


def test_a_choice_outside_the_known_is_one_line():
  names.check_choice('mode', 'sum', ('sum', 'perp'))
  with pytest.raises(ValueError, match="mode is 'smu'; did you mean 'sum'?"):
    names.check_choice('mode', 'smu', ('sum', 'perp'))


def test_an_unknown_preset_lists_the_presets():
  error = names.unknown_preset('happy', ('happy_sad', 'green'))
  assert str(error) == (
    "unknown preset 'happy'; did you mean 'happy_sad'? "
    'Presets: happy_sad, green.'
  )
