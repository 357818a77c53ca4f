"""What a prompt is wrapped into, what of it is cut, and what is refused."""

import shutil
import warnings

import pytest
import torch

from mmdist.priors import checks
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny_chats
from tests.priors import tiny_families

CHATS = ('sana', 'z_image', 'qwen_image')
FAMILIES = ('auraflow', *CHATS)


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('chats')
  return {
    family: tiny_families.write(family, folder / family) for family in FAMILIES
  }


def test_emphasis_moves_what_is_read_away_from_nothing(directories):
  text = pipelines.open_pipeline(directories['auraflow'], 'float32', 'cpu').text
  plain, empty = text.encode(['a happy man', '']).sequence
  weighted = text.encode(['(a happy man:1.5)']).sequence[0]
  said = (weighted - plain).abs().amax(-1) > 0
  expected = empty + 1.5 * (plain - empty)
  torch.testing.assert_close(weighted[said], expected[said])
  assert said.sum() == 3  # Words, and no end or padding.


@pytest.mark.parametrize('family', CHATS)
def test_a_language_model_weights_no_words(directories, family):
  for _ in range(2):  # Also once the directory is known.
    with pytest.raises(ValueError, match='marks of emphasis, and the text'):
      checks.check_prior(directories[family], ['a (happy:1.3) man'])
    checks.check_prior(directories[family], ['a man [v]'])
  text = pipelines.open_pipeline(directories[family], 'float32', 'cpu').text
  with pytest.raises(ValueError, match='marks of emphasis'):
    text.encode(['a (happy:1.3) man'])
  # A bracket that is meant is no mark.
  meant = text.encode([r'a \(happy\) man'])
  assert torch.isfinite(meant.sequence).all()


# Of 512 tokens, less those around; a Qwen-Image is not given 34 of the 145 that
# its instruction has in this vocabulary.
FITTING = {'auraflow': 255, 'sana': 299, 'z_image': 493, 'qwen_image': 388}
# Tokens behind a prompt, which are cut before the prompt is.
BEHIND = {'z_image': 13, 'qwen_image': 13}


@pytest.mark.parametrize('family', FAMILIES)
def test_long_texts_are_cut_and_pieces_are_refused(directories, family):
  most = FITTING[family]
  line = f"tokens; at most {most} fit; cut off: 'sad man'"
  fitting = 'a' + ' happy' * (most - 1)
  long = fitting + ' happy' * BEHIND.get(family, 0) + ' sad man'
  for _ in range(2):  # Also once the directory is known.
    with pytest.warns(UserWarning, match=line):
      checks.check_prior(directories[family], [long])
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      checks.check_prior(directories[family], [fitting])
  with pytest.raises(ValueError, match='reads long texts whole'):
    checks.check_prior(directories[family], ['a man'], prompt_chunks=2)


def test_a_sana_whose_tokenizer_begins_no_text_is_refused(
  directories, tmp_path
):
  directory = shutil.copytree(directories['sana'], tmp_path / 'other')
  tiny_chats.gemma_tokenizer(directory / 'tokenizer', add_bos_token=False)
  with pytest.raises(ValueError, match='begins no text with a token'):
    checks.check_prior(directory, ['a man'])


def test_the_end_of_a_chat_that_is_cut_is_named(directories):
  long = 'a' + ' happy' * FITTING['z_image']
  line = 'has 494 tokens; at most 493 fit; cut off: the end of its template'
  with pytest.warns(UserWarning, match=line):
    checks.check_prior(directories['z_image'], [long])


@pytest.mark.parametrize('template, words', [
  (None, 'has no chat template that can be read'),
  ('{{ nonsense', 'has no chat template that can be read'),
  ("{{ raise_exception('never') }}", 'has no chat template that can be read'),
  (
    tiny_chats.CHAT.replace('content }}', 'content | trim }}'),
    'changes what a user says',
  ),
  ('nothing at all', 'changes what a user says'),
])  # fmt: skip
def test_a_chat_template_that_is_no_frame_is_refused(
  directories, tmp_path, template, words
):
  directory = shutil.copytree(directories['z_image'], tmp_path / 'other')
  shutil.rmtree(directory / 'tokenizer')
  tiny_chats.qwen_tokenizer(directory / 'tokenizer', template)
  with pytest.raises(ValueError) as caught:
    checks.check_prior(directory, ['a man'])
  assert words in str(caught.value) and '\n' not in str(caught.value)
