import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.evaluation import agreement
from mmdist.evaluation import judge as judge_lib

QUESTIONS = (
  judge_lib.Question('skin', ('green', 'red'), ('front', 'back')),
  judge_lib.Question('hat', ('', 'hat', 'cap', 'crown'), ('front',)),
  judge_lib.Question('horns', ('False', 'True'), ('front',)),
  judge_lib.Question('view', ('front', 'back'), ('front', 'back')),
)
WORDS = ('front', 'front', 'back', 'mouth')


class FixedJudge:
  """Sees what it is told to see: per question, a value for each view."""

  questions = QUESTIONS

  def __init__(self, **seen):
    self.seen = seen

  def probabilities(self, images):
    found = {}
    for question in QUESTIONS:
      values = self.seen.get(question.name, [question.values[0]] * len(images))
      numbers = [question.values.index(value) for value in values]
      found[question.name] = np.eye(len(question.values))[numbers]
    return found


def measure(asked, **seen):
  images = np.zeros((len(WORDS), 8, 8, 3))
  return agreement.measure(FixedJudge(**seen), images, WORDS, asked)


def test_everything_seen_is_one():
  verdict = measure(
    {'skin': 'red', 'hat': 'cap', 'horns': True},
    skin=['red'] * 4,
    hat=['cap'] * 4,
    horns=['True'] * 4,
  )
  assert verdict.overall == 1.0
  assert verdict.per_attribute == {'skin': 1.0, 'hat': 1.0, 'horns': 1.0}


def test_nothing_seen_is_zero():
  assert measure({'skin': 'red', 'horns': True}).overall == 0.0


def test_only_views_that_show_an_attribute_count():
  verdict = measure(
    {'hat': 'hat', 'skin': 'red'},
    hat=['hat', 'cap', 'cap', 'cap'],  # Only the first two are of the front.
    skin=['red', 'red', 'green', 'green'],  # The mouth is not asked.
  )
  assert verdict.per_attribute['hat'] == 1 / 2
  assert verdict.per_attribute['skin'] == 2 / 3
  assert verdict.overall == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_chance_is_that_of_guessing():
  verdict = measure({'hat': 'hat', 'skin': 'red'})
  assert verdict.chance == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_what_the_judge_cannot_tell_is_left_out():
  verdict = measure(
    {'skin': 'green', 'kind': 'man', 'hat': 'turban', 'view': 'front'}
  )
  assert verdict.per_attribute == {'skin': 1.0}


def test_a_prompt_of_which_nothing_can_be_judged_is_named():
  with pytest.raises(ValueError, match=r'kind.*knows skin, hat, horns'):
    measure({'kind': 'man'})


def test_an_attribute_that_no_view_shows_is_left_out():
  judge = FixedJudge()
  with pytest.raises(ValueError, match='nothing that the judge can tell'):
    agreement.measure(judge, np.zeros((1, 8, 8, 3)), ('back',), {'hat': 'hat'})


def test_heads_are_judged_from_all_around_and_close():
  views = agreement.judging_views()
  words = list(views.words)
  assert len(words) == 10
  counts = {word: words.count(word) for word in dict.fromkeys(words)}
  assert counts == {'front': 3, 'side': 2, 'back': 1, 'mouth': 2, 'eyes': 2}
  np.testing.assert_allclose(views.distance, orbits.CAMERA_DISTANCE)


def measure_each(asked, **seen):
  images = np.zeros((len(WORDS), 8, 8, 3))
  return agreement.measure_each(FixedJudge(**seen), images, WORDS, asked)


def test_each_picture_is_held_to_its_own_sentence():
  verdict = measure_each(
    [{'skin': 'red', 'hat': 'cap'}, {'skin': 'green'}, {'skin': 'red'}, {}],
    skin=['red', 'red', 'red', 'red'],
    hat=['crown', 'cap', 'cap', 'cap'],
  )
  assert verdict.per_attribute == {'skin': 2 / 3, 'hat': 0.0}
  assert verdict.overall == pytest.approx(2 / 4)
  assert verdict.chance == pytest.approx((3 / 2 + 1 / 4) / 4)


def test_what_a_view_cannot_show_is_not_held_against_a_picture():
  verdict = measure_each(
    [{'skin': 'green'}, {}, {'hat': 'cap'}, {'hat': 'cap'}]
  )
  assert verdict.per_attribute == {'skin': 1.0}


def test_sentences_that_ask_for_nothing_are_refused():
  with pytest.raises(ValueError, match='nothing that was asked'):
    measure_each([{}, {'view': 'front'}, {}, {'nose': 'long'}])


def test_portraits_are_the_judging_views_that_show_a_whole_face():
  views, judged = agreement.portrait_views(), agreement.judging_views()
  assert len(views) == 5 and np.abs(views.azimuth).max() < np.pi / 2
  half_heights = views.distance * views.tan_half_fov
  np.testing.assert_allclose(half_heights, orbits.HEAD_HALF_HEIGHT)
  assert set(views.azimuth) <= set(judged.azimuth)


def test_the_description_that_fits_best_is_the_likeliest():
  judge = FixedJudge(
    skin=['red', 'red', 'green', 'red'], hat=['cap', 'cap', 'hat', 'hat']
  )
  fits = agreement.log_likelihood(
    judge,
    np.zeros((len(WORDS), 8, 8, 3)),
    WORDS,
    [
      {'skin': 'red', 'hat': 'cap', 'beard': 'none of its questions'},
      {'skin': 'green', 'hat': 'cap'},
      {'skin': 'green', 'hat': 'crown'},
      {'hat': 'cap'},
    ],
  )
  never = np.log(1e-6)
  # Red in two of three views, the hat from the front alone.
  expected = [never / 6, never / 3, (2 / 3 + 1) * never / 2, 0.0]
  np.testing.assert_allclose(fits, expected)


def test_a_description_of_nothing_is_refused():
  with pytest.raises(ValueError, match='nothing that the judge can tell'):
    agreement.log_likelihood(
      FixedJudge(), np.zeros((len(WORDS), 8, 8, 3)), WORDS, [{'beard': 'long'}]
    )
