from mmdist.cameras import orbits
from mmdist.heads import worlds
from mmdist.heads.clay import clay_attributes

CLAY = worlds.get('clay')


def test_questions_are_about_attributes_and_existing_views():
  for question in CLAY.questions.questions():
    assert question['views']
    assert set(question['views']) <= set(orbits.VIEW_WORDS)
    if question['name'] != 'view':
      choices = CLAY.attributes.choices[question['name']]
      assert question['values'] == tuple(str(choice) for choice in choices)


def test_every_view_can_be_asked_for_its_own_word():
  view = CLAY.questions.questions()[-1]
  assert view['name'] == 'view'
  assert view['values'] == view['views'] == orbits.VIEW_WORDS


def test_geometry_is_judged():
  assert set(CLAY.questions.geometry) <= set(CLAY.questions.visible_from)


def test_what_a_full_sentence_says_of_the_look_is_judged():
  everything = clay_attributes.Attributes(
    hat='hat', glasses='glasses', beard='beard', horns=True, headphones=True
  )
  asked = CLAY.captions.parse(CLAY.captions.describe(everything))
  assert set(asked) - {'kind'} <= set(CLAY.questions.visible_from)
