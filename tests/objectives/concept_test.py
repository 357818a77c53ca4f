import fractions
import itertools

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.objectives import concept as concept_lib

weights = st.floats(-10, 10).filter(lambda w: abs(w) > 1e-9)
concepts = st.builds(
  concept_lib.Concept,
  st.sampled_from(('joker', 'green', 'smile')),
  weights,
  st.sampled_from(((), ('generic',), ('generic', 'personal'))),
)
objectives = st.lists(concepts, max_size=5).map(
  lambda drawn: concept_lib.ComposedObjective(tuple(drawn))
)


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(objectives)
def test_an_objective_minus_itself_is_nothing(objective):
  assert (objective - objective).concepts == ()


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(objectives, objectives, objectives)
def test_the_order_of_writing_does_not_matter(a, b, c):
  sums = [x + y + z for x, y, z in itertools.permutations((a, b, c))]
  assert all(total == sums[0] for total in sums)
  assert a + (b + c) == sums[0]


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(objectives, objectives, weights)
def test_multiplication_distributes(a, b, weight):
  assert weight * (a + b) == weight * a + b * weight
  assert 2 * a == a + a


def test_decimals_cancel_as_they_are_written():
  smile = concept_lib.avatar('a smile')
  assert (0.1 * smile + 0.2 * smile - 0.3 * smile).concepts == ()


def test_written_as_in_the_paper():
  objective = (
    concept_lib.avatar('grinch')
    + 0.5 * concept_lib.avatar('plain')
    - 0.3 * concept_lib.avatar('smile')
  )
  assert {c.text: float(c.weight) for c in objective.concepts} == {
    'grinch': 1.0,
    'plain': 0.5,
    'smile': -0.3,
  }
  assert str(objective) == '1 grinch + 0.5 plain - 0.3 smile'


def test_an_objective_is_described_with_what_is_wanted_first():
  assert str(concept_lib.avatar('a happy man')) == 'a happy man'
  assert str(-concept_lib.avatar('green')) == '- 1 green'
  assert concept_lib.describe([('green', -1.2), ('joker', 1.5)]) == (
    '1.5 joker - 1.2 green'
  )


def test_concepts_of_other_priors_are_other_terms():
  one = concept_lib.avatar('joker')
  other = concept_lib.avatar('joker', ['generic'])
  assert len((one + other).concepts) == 2
  assert len((one + one).concepts) == 1


def test_numpy_numbers_are_numbers_and_texts_are_not():
  joker = concept_lib.avatar('joker')
  half = np.float32(0.5) * joker
  assert half.concepts[0].weight == fractions.Fraction(1, 2)
  for wrong in (lambda: joker * 'a', lambda: joker + 1, lambda: joker - 'b'):
    with pytest.raises(TypeError):
      wrong()
  with pytest.raises(ValueError, match='weight nan; expected a number'):
    float('nan') * joker


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(st.lists(concepts, min_size=1, unique_by=lambda c: c.key))
def test_a_configuration_holds_an_objective_exactly(drawn):
  # Each weight is one float here; a sum of two may need more decimals.
  objective = concept_lib.ComposedObjective(tuple(drawn))
  if objective.concepts:
    run = schema.RunConfig(concepts=concept_lib.to_config(objective))
    assert concept_lib.from_config(run) == objective


def test_a_configuration_without_concepts_asks_for_its_prompt():
  run = schema.RunConfig(prompt='a portrait of a sad man')
  assert concept_lib.from_config(run) == concept_lib.avatar(run.prompt)


def test_a_run_is_about_its_concepts_and_else_about_its_prompt():
  run = schema.RunConfig(prompt='a prompt')
  assert concept_lib.weighted_texts(run) == [('a prompt', 1.0)]
  run.concepts = [
    schema.ConceptConfig('green', -1.2),
    schema.ConceptConfig('nothing', 0.0),
    schema.ConceptConfig('a joker', 1.5),
  ]
  assert concept_lib.weighted_texts(run) == [('a joker', 1.5), ('green', -1.2)]


def test_another_schedule_is_another_term_and_a_name_is_not():
  plain = concept_lib.avatar('joker', name='joker')
  fading = concept_lib.avatar('joker', schedule=' linear( 1,0 ) ')
  assert len((plain + fading).concepts) == 2
  (both,) = (concept_lib.avatar('joker') + plain).concepts
  assert (both.name, float(both.weight)) == ('joker', 2.0)
  assert fading - concept_lib.avatar('joker', schedule='linear(1, 0)') == (
    concept_lib.ComposedObjective()
  )


def test_names_and_schedules_are_kept_in_a_configuration():
  objective = concept_lib.avatar(
    'joker', name='joker', schedule='cosine(0.5, 1)'
  )
  run = schema.RunConfig(concepts=concept_lib.to_config(objective))
  assert concept_lib.from_config(run) == objective


def test_a_result_is_about_what_it_was_asked_to_be_in_the_end():
  run = schema.RunConfig(
    concepts=[
      schema.ConceptConfig('young', 1.0, schedule='linear(1, 0)'),
      schema.ConceptConfig('old', 2.0, schedule='linear(0, 0.5)'),
    ]
  )
  assert concept_lib.weighted_texts(run) == [('old', 1.0)]
  assert concept_lib.weighted_texts(run, 0.0) == [('young', 1.0)]
  # Its prompt is never asked: not even where all concepts have faded.
  del run.concepts[1]
  assert concept_lib.weighted_texts(run) == []


def test_a_title_names_concepts_that_have_faded_with_their_schedules():
  run = schema.RunConfig(
    concepts=[
      schema.ConceptConfig('young', 1.0, schedule='linear(1, 0)'),
      schema.ConceptConfig('green', -0.5, schedule='piecewise(0: 1, 1: 0)'),
      schema.ConceptConfig('nothing', 0.0),
    ]
  )
  assert concept_lib.title_of(run) == (
    'young, linear(1, 0); - 0.5 green, piecewise(0: 1, 1: 0)'
  )
  run.concepts.append(schema.ConceptConfig('old', 2.0))
  assert concept_lib.title_of(run) == (
    '2 old; young, linear(1, 0); - 0.5 green, piecewise(0: 1, 1: 0)'
  )


def test_equal_texts_are_told_apart_by_their_schedules_and_priors():
  run = schema.RunConfig(
    concepts=[
      schema.ConceptConfig('a man', 1.0, (), 'early', 'linear(1, 0)'),
      schema.ConceptConfig('a  man', 1.0, (), 'late', 'linear(0, 1)'),
      schema.ConceptConfig('a man', 0.5, ('generic',)),
      schema.ConceptConfig('a man', 0.25, ('generic',), 'again'),
      schema.ConceptConfig('a hat', 1.0),
      schema.ConceptConfig('a hat', -1.0),
    ]
  )
  found = concept_lib.weighted_concepts(run)
  assert [(one.name, weight) for one, weight in found] == [
    ('late', 1.0),
    ('again', 0.75),
    ('early', 0.0),
  ]


def test_a_run_of_one_step_is_about_what_that_step_asks():
  run = schema.RunConfig(
    num_steps=1,
    concepts=[
      schema.ConceptConfig('young', 1.0, schedule='linear(1, 0)'),
      schema.ConceptConfig('old', 1.0, schedule='linear(0, 1)'),
    ],
  )
  assert concept_lib.weighted_texts(run) == [('young', 1.0)]
  assert concept_lib.title_of(run) == 'young; old, linear(0, 1)'
