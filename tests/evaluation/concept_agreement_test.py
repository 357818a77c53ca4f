import numpy as np
import pytest

from mmdist.config import schema
from mmdist.evaluation import agreement
from mmdist.evaluation import concept_agreement
from mmdist.evaluation import judge as judge_lib
from mmdist.heads import worlds

PEOPLE = worlds.get('people')

VIEWS = ('front', 'front', 'side', 'back')
IMAGES = np.zeros((4, 8, 8, 3), np.float32)
QUESTIONS = (
  judge_lib.Question('expression', ('neutral', 'happy', 'sad'), ('front',)),
  judge_lib.Question('hair_color', ('black', 'green'), VIEWS),
  judge_lib.Question('hat', ('none', 'hat'), VIEWS),
)


class FakeJudge:
  """Sees happy and sad once each, and green hair in three of four views."""

  questions = QUESTIONS

  def probabilities(self, images):
    assert images is IMAGES
    seen = {
      'expression': [1, 2, 0, 0],
      'hair_color': [1, 1, 1, 0],
      'hat': [1, 1, 1, 1],
    }
    return {q.name: np.eye(len(q.values))[seen[q.name]] for q in self.questions}


def judged(*concepts, prompt='nobody'):
  run = schema.RunConfig(
    prompt=prompt, concepts=[schema.ConceptConfig(*c) for c in concepts]
  )
  return concept_agreement.judged_concepts(run, PEOPLE)


def measure(concepts):
  return concept_agreement.measure(FakeJudge(), IMAGES, VIEWS, concepts)


def test_a_single_prompt_has_exactly_the_judges_own_numbers():
  prompt = 'a portrait of a happy man with green hair and a hat'
  (concept,) = judged(prompt=prompt)
  verdict = measure([concept])
  expected = agreement.measure(FakeJudge(), IMAGES, VIEWS, concept.asked)
  assert verdict.overall == expected.overall == np.mean([0.5, 0.75, 1.0])
  assert verdict.per_attribute == expected.per_attribute
  assert verdict.chance == expected.chance


def test_concepts_that_disagree_have_an_agreement_each_and_a_weighted_mean():
  verdict = measure(
    judged(
      ('a portrait of a happy man with a hat', 3.0),
      ('a portrait of a sad man', 1.0),
    )
  )
  happy, sad = verdict.per_concept
  assert happy['agreement'] == 0.75 and sad['agreement'] == 0.5
  assert verdict.overall == pytest.approx((3 * 0.75 + 1 * 0.5) / 4)
  assert verdict.per_attribute == {'expression': 0.5, 'hat': 1.0}


def test_a_negative_concept_asks_for_absence():
  verdict = measure(
    judged(('a portrait of a man with a hat', 1.0), ('green hair', -1.0))
  )
  hat, hair = verdict.per_concept
  assert hat['agreement'] == 1.0
  assert hair['agreement'] == 0.25  # Seen in three of four views.
  assert hair['per_attribute'] == {'hair_color': 0.25}
  assert verdict.overall == pytest.approx(0.625)
  assert verdict.chance == pytest.approx(0.5)
  assert 'hair_color' not in verdict.per_attribute


def test_what_is_taken_away_is_not_asked_for_by_another_concept():
  joker, hair = judged(
    ('a portrait of a joker', 1.5), ('a portrait of a man with green hair', -1)
  )
  assert 'hair_color' not in joker.asked
  assert joker.asked['expression'] == 'happy'
  assert hair.asked['hair_color'] == 'green'
  merged = concept_agreement.merged_attributes([joker, hair])
  assert merged['skin'] == 'white' and 'hair_color' not in merged


def test_a_person_whom_a_negative_concept_is_about_stays():
  wanted, _ = judged(
    ('a portrait of a happy man', 1.0), ('a portrait of a sad man', -1.0)
  )
  assert wanted.asked == {'kind': 'man', 'expression': 'happy'}


def test_the_heaviest_concept_decides_where_they_disagree():
  concepts = judged(
    ('a portrait of a happy man', 0.6), ('a portrait of a sad man', 0.4)
  )
  merged = concept_agreement.merged_attributes(concepts)
  assert merged['expression'] == 'happy'


def test_a_concept_that_the_judge_knows_nothing_of_does_not_count():
  verdict = measure(judged(('a hat', 1.0), ('a portrait of a man', 5.0)))
  assert verdict.overall == 1.0
  assert verdict.per_concept[0]['agreement'] is None


def test_nothing_that_can_be_judged_is_refused():
  with pytest.raises(ValueError, match='asks for nothing that the judge'):
    measure(judged(('a portrait of a man', 1.0)))


def concepts(*weights):
  return schema.RunConfig(
    prompt='nobody',
    concepts=[
      schema.ConceptConfig(f'head {i}', weight)
      for i, weight in enumerate(weights)
    ],
  )


def test_the_heaviest_concept_is_what_networks_of_texts_are_asked():
  run = concepts(0.4, 0.6, -3.0)
  assert concept_agreement.main_prompt(run) == 'head 1'
  assert concept_agreement.main_prompt(concepts()) == 'nobody'


def test_a_run_that_only_leaves_things_out_cannot_be_judged():
  with pytest.raises(ValueError, match='no concept of positive weight'):
    concept_agreement.judged_concepts(concepts(-1.0), PEOPLE)
