"""Concepts and priors together: terms, their weights, and what is refused."""

import hypothesis
from hypothesis import strategies as st
import pytest

from mmdist.config import schema
from mmdist.core import guidance_kinds
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib

weights = st.floats(-10, 10).filter(lambda w: abs(w) > 1e-9)
terms = st.builds(
  binding.PriorConcept,
  st.sampled_from(('generic', 'personal')),
  st.just('rgb'),
  st.sampled_from(('joker', 'green', 'smile')),
  weights,
  st.sampled_from((3.0, 4.0)),
)
term_lists = st.lists(terms, max_size=5)


def bind(objective: concept_lib.ComposedObjective) -> binding.BoundObjective:
  return binding.bind(objective, schema.RunConfig().priors)


def bound(drawn) -> binding.BoundObjective:
  return binding.BoundObjective(tuple(drawn))


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(term_lists, term_lists)
def test_the_signed_sum_is_linear(a, b):
  total = binding.signed_sum(bound(a + b)).get('rgb', 0.0)
  parts = [binding.signed_sum(bound(x)).get('rgb', 0.0) for x in (a, b)]
  # The parts are rounded to floats before they are added.
  assert abs(total - sum(parts)) < 1e-12


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(term_lists, st.randoms())
def test_the_order_of_terms_does_not_matter(drawn, random):
  shuffled = list(drawn)
  random.shuffle(shuffled)
  assert bound(shuffled) == bound(drawn)


def test_every_prior_is_asked_for_every_concept():
  objective = bind(
    concept_lib.avatar('grinch')
    + 0.5 * concept_lib.avatar('plain')
    - 0.3 * concept_lib.avatar('smile')
  )
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
  objective = binding.bind(2 * concept_lib.avatar('a man'), priors)
  assert binding.signed_sum(objective) == {'rgb': 2.0, 'normal': 0.5}


def test_another_guidance_is_another_question():
  one, other = (
    binding.PriorConcept('generic', 'rgb', 'joker', 1.0, guidance)
    for guidance in (3.0, 4.0)
  )
  assert len(bound([one, other]).terms) == 2
  assert len(bound([one, one]).terms) == 1


def test_a_sum_of_weights_that_holds_nothing_is_told():
  balanced = concept_lib.avatar('joker') - concept_lib.avatar('green')
  lines = binding.balance_warnings(
    bind(balanced - 0.5 * concept_lib.avatar('hat'))
  )
  assert len(lines) == 2
  assert lines[0].startswith(
    "the weights on channel 'rgb' add up to S = -0.5; expected S > 0"
  )
  assert 'by more than 0.5' in lines[0]
  assert binding.balance_warnings(bind(concept_lib.avatar('joker'))) == []
  line, _ = binding.balance_warnings(bind(balanced))
  assert 'add up to S = 0;' in line and line.endswith('by more than 0.')


def run_config(**changes) -> schema.RunConfig:
  return schema.RunConfig(**changes)


def test_a_prompt_alone_is_one_concept_of_every_prior():
  objective = binding.bind_config(run_config(prompt='a portrait of a sad man'))
  assert {term.prior: term.prompt for term in objective.terms} == {
    'generic': 'a portrait of a sad man',
    'normal': 'a [w] face map of a sad man',
  }


def test_concepts_take_the_place_of_the_prompt():
  objective = binding.bind_config(
    run_config(
      prompt='',
      concepts=[
        schema.ConceptConfig('joker', 1.5),
        schema.ConceptConfig('green', -0.5, ('generic',)),
      ],
    )
  )
  assert binding.signed_sum(objective) == {'rgb': 1.0, 'normal': 1.5}


def test_a_disabled_prior_is_not_asked():
  run = run_config()
  run.priors['normal'].enabled = False
  assert binding.bind_config(run).priors == ('generic',)


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
    binding.bind_config(run_config(concepts=concepts))
  assert '\n' not in str(error.value)


def test_a_run_without_priors_is_one_line():
  run = run_config()
  for prior in run.priors.values():
    prior.enabled = False
  with pytest.raises(ValueError, match='no prior is enabled; .*generic, norm'):
    binding.bind_config(run)


def test_weights_that_hold_nothing_for_a_while_are_told_with_the_moment():
  joker = concept_lib.avatar('joker', schedule='linear(1, 0)')
  objective = bind(joker - 0.5 * concept_lib.avatar('green'))
  line, _ = binding.balance_warnings(objective)
  assert "'rgb' add up to S = -0.5 at 100% of the run" in line
  assert not binding.balance_warnings(
    bind(joker + 0.5 * concept_lib.avatar('green'))
  )


def test_a_concept_that_is_wanted_only_later_is_enough():
  run = schema.RunConfig(
    concepts=[
      schema.ConceptConfig('joker', 1.0, schedule='linear(0, 1)'),
      schema.ConceptConfig('green', -0.1),
    ]
  )
  assert binding.bind_config(run).terms[0].weight_at(1.0)


def test_a_concept_whose_schedule_never_wants_it_is_refused():
  run = schema.RunConfig(
    concepts=[schema.ConceptConfig('joker', 1.0, schedule='linear(0, -1)')]
  )
  with pytest.raises(ValueError, match='no concept has a positive weight'):
    binding.bind_config(run)


def make_priors(**kinds) -> dict[str, schema.PriorConfig]:
  return {
    name: schema.PriorConfig(objective=kind) for name, kind in kinds.items()
  }


def test_a_concepts_negative_text_comes_before_the_priors():
  priors = make_priors(one='sds', two='nfsd')
  priors['one'].negative_prompt = '  ugly   hair '
  joker = concept_lib.avatar('joker')
  own = concept_lib.avatar('joker', negative_prompt='a clown')
  found = {
    (t.prior, t.negative_prompt)
    for t in binding.bind(joker + own, priors).terms
  }
  assert found == {
    ('one', 'ugly hair'),
    ('one', 'a clown'),
    ('two', guidance_kinds.KINDS['nfsd'].negative_prompt),
    ('two', 'a clown'),
  }


def test_concepts_that_differ_in_their_negative_texts_are_two():
  one = concept_lib.avatar('joker')
  other = concept_lib.avatar('joker', negative_prompt='a clown')
  assert len((one - other).concepts) == 2
  assert not (other - other).concepts


def test_the_factor_on_a_negative_text_follows_its_schedule():
  priors = make_priors(one='csd')
  priors['one'].guidance_scale = 10.0
  priors['one'].negative_share = 0.5
  priors['one'].negative_schedule = 'linear(1, 0)'
  (term,) = binding.bind(concept_lib.avatar('joker'), priors).terms
  assert [term.negative_scale_at(p) for p in (0, 0.5, 1)] == [5.0, 2.5, 0.0]


@pytest.mark.parametrize('kind', guidance_kinds.KINDS)
def test_a_sum_of_weights_matters_where_a_kind_has_an_imbalance(kind):
  priors = make_priors(one=kind)
  priors['one'].negative_prompt = 'a face'
  objective = binding.bind(-1 * concept_lib.avatar('joker'), priors)
  lines = binding.balance_warnings(objective)
  imbalance = guidance_kinds.KINDS[kind].imbalance
  assert bool(lines) == bool(imbalance) == (kind not in ('csd', 'dds'))
  if kind not in ('vsd', 'csd', 'dds'):
    assert f'else with {kind} {imbalance} and nothing holds' in lines[0]


def test_kinds_that_compare_texts_are_left_out_of_the_sum():
  priors = make_priors(one='csd', two='vsd')
  joker, hat = concept_lib.avatar('joker'), concept_lib.avatar('hat', ('one',))
  assert not binding.balance_warnings(binding.bind(joker - 5 * hat, priors))
