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
  st.sampled_from(('generic', 'personal')),
  st.just('rgb'),
  st.sampled_from(('joker', 'green', 'smile')),
  weights,
  st.sampled_from((3.0, 4.0)),
)
objectives = st.lists(concepts, max_size=5).map(
  lambda terms: concept_lib.ComposedObjective(tuple(terms))
)


def avatar(text: str) -> concept_lib.ComposedObjective:
  return concept_lib.avatar(text, schema.RunConfig().priors)


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(objectives)
def test_an_objective_minus_itself_is_nothing(objective):
  assert (objective - objective).terms == ()


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


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(objectives, objectives)
def test_the_signed_sum_is_linear(a, b):
  total = concept_lib.signed_sum(a + b).get('rgb', 0.0)
  parts = [concept_lib.signed_sum(o).get('rgb', 0.0) for o in (a, b)]
  # The parts are rounded to floats before they are added.
  assert abs(total - sum(parts)) < 1e-12


def test_decimals_cancel_as_they_are_written():
  smile = avatar('a smile')
  assert (0.1 * smile + 0.2 * smile - 0.3 * smile).terms == ()


def test_written_as_in_the_paper():
  objective = avatar('grinch') + 0.5 * avatar('plain') - 0.3 * avatar('smile')
  found = {
    (term.prior, term.text): float(term.weight) for term in objective.terms
  }
  assert found == {
    (prior, text): weight
    for prior in ('generic', 'normal')
    for text, weight in (('grinch', 1.0), ('plain', 0.5), ('smile', -0.3))
  }
  assert objective.priors == ('generic', 'normal')
  assert objective.channels == ('rgb', 'normal')


def test_the_normal_prior_has_weight_lambda():
  priors = schema.RunConfig().priors
  priors['normal'].weight = 0.25
  objective = 2 * concept_lib.avatar('a man', priors)
  assert concept_lib.signed_sum(objective) == {'rgb': 2.0, 'normal': 0.5}


def test_another_guidance_is_another_question():
  one, other = (
    concept_lib.ComposedObjective(
      (concept_lib.Concept('generic', 'rgb', 'joker', 1.0, guidance),)
    )
    for guidance in (3.0, 4.0)
  )
  assert len((one + other).terms) == 2
  assert len((one + one).terms) == 1


def test_numpy_numbers_are_numbers_and_texts_are_not():
  joker = avatar('joker')
  assert (np.float32(0.5) * joker).terms[0].weight == fractions.Fraction(1, 2)
  for wrong in (lambda: joker * 'a', lambda: joker + 1, lambda: joker - 'b'):
    with pytest.raises(TypeError):
      wrong()
  with pytest.raises(ValueError, match='weight nan; expected a number'):
    float('nan') * joker


def test_a_sum_of_weights_that_holds_nothing_is_told():
  balanced = avatar('joker') - avatar('green')
  lines = concept_lib.balance_warnings(balanced - 0.5 * avatar('hat'))
  assert len(lines) == 2
  assert lines[0].startswith(
    "the weights on channel 'rgb' add up to S = -0.5; expected S > 0"
  )
  assert 'by more than 0.5' in lines[0]
  assert concept_lib.balance_warnings(avatar('joker')) == []


def run_config(**changes) -> schema.RunConfig:
  return schema.RunConfig(**changes)


def test_a_prompt_alone_is_one_concept_of_every_prior():
  objective = concept_lib.objective_from_config(
    run_config(prompt='a portrait of a sad man')
  )
  assert {term.prior: term.prompt for term in objective.terms} == {
    'generic': 'a portrait of a sad man',
    'normal': 'a [w] face map of a sad man',
  }


def test_concepts_take_the_place_of_the_prompt():
  objective = concept_lib.objective_from_config(
    run_config(
      prompt='',
      concepts=[
        schema.ConceptConfig('joker', 1.5),
        schema.ConceptConfig('green', -0.5, ('generic',)),
      ],
    )
  )
  assert concept_lib.signed_sum(objective) == {'rgb': 1.0, 'normal': 1.5}


def test_a_disabled_prior_is_not_asked():
  run = run_config()
  run.priors['normal'].enabled = False
  assert concept_lib.objective_from_config(run).priors == ('generic',)


@pytest.mark.parametrize(
  'concepts, message',
  [
    (
      [schema.ConceptConfig('a smiling face', 1.0, ('generc',))],
      "concept 'a smiling face' asks prior 'generc', which is not running; did "
      "you mean 'generic'\\? Priors: generic, normal.",
    ),
    ([schema.ConceptConfig('green', -1.0)], 'no concept has a positive'),
    ([schema.ConceptConfig('green', 0.0)], 'no concept has a positive'),
    ([schema.ConceptConfig('')], 'the prompt is empty'),
    ([schema.ConceptConfig('x' * 10_000)], '10000 characters'),
    ([schema.ConceptConfig('x', float('inf'))], 'a concept has weight inf'),
  ],
)
def test_what_cannot_be_asked_is_one_line(concepts, message):
  with pytest.raises(ValueError, match=message) as error:
    concept_lib.objective_from_config(run_config(concepts=concepts))
  assert '\n' not in str(error.value)


def test_a_run_without_priors_is_one_line():
  run = run_config()
  for prior in run.priors.values():
    prior.enabled = False
  with pytest.raises(ValueError, match='no prior is enabled; .*generic, norm'):
    concept_lib.objective_from_config(run)


@pytest.mark.parametrize(
  'terms, text',
  [
    ([('a man', 1.0)], 'a man'),
    ([('a man', 0.5)], '0.5 a man'),
    ([('a man', -1.0)], '- 1 a man'),
    ([('happy', 0.6), ('sad', 0.4)], '0.6 happy + 0.4 sad'),
    ([('a joker', 1.5), ('green', -1.2)], '1.5 a joker - 1.2 green'),
  ],
)
def test_a_sum_is_described_as_a_person_would_write_it(terms, text):
  assert concept_lib.describe(terms) == text


def test_a_run_is_about_its_concepts_and_else_about_its_prompt():
  run = schema.RunConfig(prompt='a prompt')
  assert concept_lib.weighted_texts(run) == [('a prompt', 1.0)]
  run.concepts = [
    schema.ConceptConfig('green', -1.2),
    schema.ConceptConfig('nothing', 0.0),
    schema.ConceptConfig('a joker', 1.5),
  ]
  assert concept_lib.weighted_texts(run) == [('a joker', 1.5), ('green', -1.2)]
