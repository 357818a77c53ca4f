from mmdist.cameras import orbits
from mmdist.heads import attributes as head_attributes
from mmdist.heads import captions
from mmdist.heads import questions as head_questions


def test_questions_are_about_attributes_and_existing_views():
  for question in head_questions.questions():
    assert question['views']
    assert set(question['views']) <= set(orbits.VIEW_WORDS)
    if question['name'] != 'view':
      choices = head_attributes.CHOICES[question['name']]
      assert question['values'] == tuple(str(choice) for choice in choices)


def test_every_view_can_be_asked_for_its_own_word():
  view = head_questions.questions()[-1]
  assert view['name'] == 'view'
  assert view['values'] == view['views'] == orbits.VIEW_WORDS


def test_geometry_is_judged():
  assert set(head_questions.GEOMETRY) <= set(head_questions.VISIBLE_FROM)


def test_what_a_full_sentence_says_of_the_look_is_judged():
  everything = head_attributes.Attributes(
    hat='hat', glasses='glasses', beard='beard', horns=True, headphones=True
  )
  asked = captions.parse(captions.describe(everything))
  assert set(asked) - {'kind'} <= set(head_questions.VISIBLE_FROM)
