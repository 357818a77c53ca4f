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


@pytest.mark.parametrize('name', ['held-out-3', 'a_b.c', 'x' * 64, '...', '-'])
def test_a_name_that_can_be_a_file_is_let_through(name):
  names.check_file_name('a run', name)


@pytest.mark.parametrize(
  'name', ['', '.', '..', 'a/b', '../a', 'a b', 'ä', 'a\n', 'x' * 65, 'a\0']
)
def test_a_name_that_could_be_a_path_is_refused(name):
  with pytest.raises(ValueError, match="a run is called '.*'; expected up to"):
    names.check_file_name('a run', name)


@pytest.mark.parametrize(
  'text', ['a man \udcff', '\ud83d', 'x' * 90 + '\udc80']
)
def test_what_is_no_unicode_is_one_line(text):
  with pytest.raises(
    ValueError, match='prompt has .* no letter of Unicode'
  ) as e:
    names.check_text('prompt', text)
  assert '\n' not in str(e.value) and str(e.value).isprintable()
  names.check_text('prompt', 'ein Mann \U0001f642')
