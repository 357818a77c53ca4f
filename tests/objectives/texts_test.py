"""What is checked before a run is exactly what is sent during it."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from mmdist import loop
from mmdist.config import schema
from mmdist.learner import distill
from mmdist.objectives import binding
from mmdist.objectives import texts

PREFIX = 'A DSLR photo of'


def make_run(**views) -> schema.RunConfig:
  run = schema.RunConfig(
    prompt='A DSLR photo portrait of a [v] man who is sad',
    views=schema.ViewsConfig(num_views=40, resolution=4, **views),
  )
  run.priors['personal'] = schema.PriorConfig(
    prompt_template='a [v] portrait of {target}', prompt_prefix='a photo of'
  )
  return run


def texts_of(run: schema.RunConfig) -> dict[str, frozenset[str]]:
  return texts.texts_of(binding.bind_config(run), run.views)


def sent_texts(run: schema.RunConfig, num_steps: int) -> dict[str, set[str]]:
  """Collects every text of the requests of a run's steps."""
  sent = {}
  objective = binding.bind_config(run)
  shape = (run.views.num_views, 4, 4, 3)
  renders = distill.ViewRenders(
    np.zeros(shape, np.float32), np.zeros(shape, np.float32), None
  )
  for step in range(num_steps):
    batch = distill.sample_batch(run.views, run.seed, step)
    requests = loop.requests_for(objective, run, batch, renders, step)
    for prior, request in requests.items():
      for term in request.terms:
        sent.setdefault(prior, set()).update([term.plain_prompt], term.prompts)
        if term.negative_prompt:
          sent[prior].add(term.negative_prompt)
  return sent


@pytest.mark.parametrize(
  'views',
  [
    {},
    {'use_view_words': False},
    {'prompt_prefix': PREFIX},
    {'emphasis': {'mouth': 0.0, 'back': 0.0}},
  ],
)
def test_what_is_checked_is_what_a_whole_run_sends(views):
  run = make_run(**views)
  run.concepts = [
    schema.ConceptConfig('a photo of a joker', 1.5),
    schema.ConceptConfig('green hair', -0.5, ('personal', 'normal')),
  ]
  # In 50 steps of 40 views each word is drawn: the rarest is 1 view in 50.
  assert sent_texts(run, 50) == texts_of(run)


def test_negative_texts_are_checked_too():
  run = make_run()
  run.priors['generic'].negative_prompt = 'blurry'
  run.priors['personal'].objective = 'nfsd'
  run.concepts = [schema.ConceptConfig('a joker', negative_prompt='a clown')]
  run.concepts.append(schema.ConceptConfig('green hair'))
  assert sent_texts(run, 50) == texts_of(run)
  run.priors['generic'].objective = 'bridge'
  sources = {text for text in texts_of(run)['generic'] if 'blurry' in text}
  assert sources and all(text.endswith(' , blurry') for text in sources)


def test_the_normal_prior_reads_of_the_target_alone():
  run = make_run(prompt_prefix=PREFIX, use_view_words=False)
  assert texts_of(run)['normal'] == {'a [w] face map of a man who is sad'}


def test_a_prior_has_one_prefix_its_own_before_the_runs():
  run = make_run(prompt_prefix=PREFIX, use_view_words=False)
  run.prompt = 'a man'
  assert texts_of(run) == {
    'generic': {f'{PREFIX} a man'},
    'normal': {'a [w] face map of a man'},
    'personal': {'a photo of a [v] portrait of a man'},
  }


def test_a_normal_prior_may_be_given_a_prefix():
  run = make_run(use_view_words=False)
  run.prompt = 'a man'
  run.priors['normal'].prompt_prefix = 'A picture of'
  assert texts_of(run)['normal'] == {'A picture of a [w] face map of a man'}


def test_without_a_prefix_nothing_is_put_before_a_text():
  run = make_run(use_view_words=False)
  run.prompt = 'a man'
  assert texts_of(run)['generic'] == {'a man'}


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(st.sampled_from(['', PREFIX]), st.sampled_from(['', 'x of']))
def test_the_prefix_of_a_run_never_reaches_a_prior_with_its_own(shared, own):
  run = make_run(prompt_prefix=shared)
  run.priors['generic'].prompt_prefix = own
  for text in texts_of(run)['generic']:
    assert text.startswith(f'{own or shared} '.lstrip())
    assert not (own and shared and shared in text)
