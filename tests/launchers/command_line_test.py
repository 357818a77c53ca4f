"""Which words of a command line are taken, and what is said of the others."""

import pytest

from launchers import command_line
from launchers import config_flag
from mmdist.results import remake
from mmdist.training import personalization


def parse(*words, usage=''):
  return command_line.parse(['view', *words], remake.Options, None, usage)


def test_words_and_flags_may_be_mixed():
  options, words = parse('mesh', '--port=1', 'RUN', usage='RUN')
  assert options.port == 1 and words == ['mesh', 'RUN']
  _, words = parse('--port=1', '--', '--odd-name', usage='RUN')
  assert words == ['--odd-name']


LEFT_OVER = 'is left over: no word that is not a flag is expected'


@pytest.mark.parametrize(
  'words, line',
  [
    (
      ['--host=a', 'happy', '--port=1', 'man'],
      f"'happy man' {LEFT_OVER}; did you mean --host='a happy man', with "
      'quotes?',
    ),
    (
      ['happy', '--port=1'],
      f"'happy' {LEFT_OVER}; a value with spaces needs quotes.",
    ),
    (
      ['a happy man', '--port=1'],
      f"'a happy man' {LEFT_OVER}; name the flag that it is for, as in "
      "--FLAG='a happy man'.",
    ),
    (['--', 'a'], f"'a' {LEFT_OVER}; a value with spaces needs quotes."),
  ],
)
def test_words_left_over_are_refused_and_say_what_was_meant(words, line):
  with pytest.raises(ValueError) as error:
    parse(*words)
  assert str(error.value) == line


def test_a_prompt_without_quotes_is_refused_beside_fields():
  words = '--config=smoke --config.prompt=a portrait of a man --host=x'
  with pytest.raises(ValueError, match="--config.prompt='a portrait of a man'"):
    command_line.parse(
      ['x', *words.split(' ')], remake.Options, config_flag.Config()
    )


def test_words_for_another_command_come_after_dashes():
  _, words = parse('--', '--port=3', 'a', usage='-- FLAG ...')
  assert words == ['--port=3', 'a']
  with pytest.raises(ValueError, match="'a' is left over"):
    parse('a', '--', '--port=3', usage='-- FLAG ...')


def test_help_asked_of_another_command_is_not_ours():
  assert command_line.asks_for_help(['x', '--help'])
  assert command_line.asks_for_help(['x', '-h'])
  assert not command_line.asks_for_help(['x', '--', '--help'])


@pytest.mark.parametrize(
  'words, line',
  [
    (['--prot=3'], 'Did you mean: port'),
    (['--port=0'], 'an integer in the range'),
    (['--resolution=7'], 'integer >= 8'),
    (['--quality=perhaps'], 'perhaps'),
    (['--port'], 'Missing value for flag --port'),
  ],
)
def test_a_wrong_flag_is_one_line(words, line):
  with pytest.raises(ValueError, match=line) as error:
    parse(*words)
  assert '\n' not in str(error.value)


def test_a_flag_that_must_be_given_is_named():
  with pytest.raises(ValueError, match='flag --out=None'):
    command_line.parse(['x', '--kind=photos'], personalization.Options)


def test_commands_do_not_share_flags():
  (first,) = parse('--port=1')
  (second,) = parse()
  assert (first.port, second.port) == (1, 8080)
