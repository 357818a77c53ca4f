from mmdist.cameras import orbits
from mmdist.heads import worlds
from mmdist.heads.people import attributes as people_attributes

PEOPLE = worlds.get('people')


def test_questions_are_about_attributes_and_existing_views():
  for question in PEOPLE.questions.questions():
    assert question['views']
    assert set(question['views']) <= set(orbits.VIEW_WORDS)
    if question['name'] != 'view':
      choices = PEOPLE.attributes.choices[question['name']]
      assert question['values'] == tuple(str(choice) for choice in choices)


def test_it_is_asked_who_somebody_is():
  asked = {q['name']: q['values'] for q in PEOPLE.questions.questions()}
  assert asked['kind'] == ('man', 'woman', 'boy', 'girl')
  assert asked['age'] == ('', 'young', 'old')
  assert asked['freckles'] == ('False', 'True')
  assert asked['view'] == orbits.VIEW_WORDS


def test_what_a_full_sentence_says_of_the_look_is_judged():
  everything = people_attributes.Attributes(
    age='old',
    freckles=True,
    hat='hat',
    glasses='glasses',
    beard='beard',
    horns=True,
    headphones=True,
  )
  asked = PEOPLE.captions.parse(PEOPLE.captions.describe(everything))
  assert set(asked) <= set(PEOPLE.questions.visible_from)


def test_lids_and_mouths_are_judged_where_both_are_seen():
  assert PEOPLE.questions.visible_from['expression'] == ('front',)
