import pytest

from mmdist.objectives import prompts


@pytest.mark.parametrize(
  'text, target',
  [
    ('a portrait of a happy man', 'a happy man'),
    ('A Portrait of an elf with a hat', 'an elf with a hat'),
    ('a [v] portrait of a man', 'a man'),
    ('a dslr photo of a clown', 'a clown'),
    ('the joker', 'the joker'),
    ('a happy portrait of a man', 'a happy portrait of a man'),
  ],
)
def test_the_target_is_whom_the_portrait_is_of(text, target):
  assert prompts.target_of(text) == target


def test_the_normal_prior_is_asked_for_a_face_map():
  template = 'a [w] face map of {target}'
  text = 'a portrait of a sad woman with glasses'
  assert prompts.fill_template(template, text) == (
    'a [w] face map of a sad woman with glasses'
  )
  assert prompts.fill_template('{prompt}', text) == text


def test_braces_in_a_text_are_not_placeholders():
  text = 'a portrait of {target} {0}'
  assert prompts.fill_template('{prompt}', text) == text


def test_view_words_come_last_and_prefixes_first():
  prompt = prompts.add_prefix('A DSLR photo of', 'a portrait of a man')
  assert prompts.add_view_word(prompt, 'low-angle') == (
    'A DSLR photo of a portrait of a man , low-angle view'
  )
  assert prompts.add_view_word('a man', '') == 'a man'


def test_spaces_and_line_ends_are_one_space():
  assert prompts.check_prompt('  a\n portrait ') == 'a portrait'


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'the prompt is empty; expected a sentence'),
    (' \n\t', 'the prompt is empty'),
    ('man ' * 2500, 'the prompt has 9999 characters; expected at most 1000'),
  ],
)
def test_a_prompt_nobody_could_read_is_one_line(text, message):
  with pytest.raises(ValueError, match=message) as error:
    prompts.check_prompt(text)
  assert '\n' not in str(error.value) and len(str(error.value)) < 200


def test_a_template_must_say_what_is_asked():
  with pytest.raises(ValueError, match="prior 'normal' has prompt template"):
    prompts.check_template('normal', 'a face map of {taget}')
