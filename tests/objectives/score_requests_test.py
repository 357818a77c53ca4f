import dataclasses
import itertools

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.objectives import score_requests

WORDS = ('front', 'mouth')
IMAGES = {
  'rgb': np.full((2, 4, 4, 3), 0.25, np.float32),
  'normal': np.full((2, 4, 4, 3), 0.5, np.float32),
}


def avatar(text: str) -> concept_lib.ComposedObjective:
  return concept_lib.avatar(text)


def requests(objective, images=IMAGES, words=WORDS, **changes):
  settings = {
    'step': 3,
    'seed': 0,
    'num_steps': 10,
    'proxy_step': 3,
    'proxy_learning_rate': 2e-3,
    'noise': schema.NoiseConfig(),
  }
  if not isinstance(objective, binding.BoundObjective):
    objective = binding.bind(objective, schema.RunConfig().priors)
  return score_requests.requests_for(
    objective, images, words, **settings | changes
  )


def answer(prior, channel='rgb', scale=1.0, **metrics):
  rng = np.random.default_rng(list(prior.encode()))
  cotangent = scale * rng.standard_normal((2, 4, 4, 3))
  return messages.ScoreGradient(
    3, prior, channel, cotangent.astype(np.float32), 3, metrics
  )


def test_every_prior_gets_one_request_with_its_own_wording():
  asked = requests(
    avatar('a portrait of a joker') - 0.5 * avatar('green'),
    mode='perp',
  )
  assert list(asked) == ['generic', 'normal']
  normal = asked['normal']
  joker, green = normal.terms
  assert joker.plain_prompt == 'a [w] face map of a joker'
  assert green.plain_prompt == 'a [w] face map of green'
  assert green.prompts == (
    'a [w] face map of green , front view',
    'a [w] face map of green , mouth view',
  )
  assert (joker.weight, green.weight) == (1.0, -0.5)
  assert (joker.guidance_scale, green.guidance_scale) == (8.0, 8.0)
  assert normal.mode == 'perp'
  np.testing.assert_array_equal(normal.images, IMAGES['normal'])
  np.testing.assert_array_equal(asked['generic'].images, IMAGES['rgb'])


def test_noise_levels_are_shared_and_noise_is_not():
  asked = requests(avatar('a joker'))
  np.testing.assert_array_equal(
    asked['generic'].noise_levels, asked['normal'].noise_levels
  )
  assert asked['generic'].noise_levels.dtype == np.float32
  assert asked['generic'].seed != asked['normal'].seed


def test_the_same_step_asks_the_same_again_and_the_next_does_not():
  first, again, later = (
    requests(avatar('a joker'), step=step)['generic'] for step in (3, 3, 4)
  )
  assert first.seed == again.seed != later.seed
  np.testing.assert_array_equal(first.noise_levels, again.noise_levels)
  assert (first.noise_levels != later.noise_levels).all()


def test_adding_a_prior_leaves_the_others_requests_alone():
  run = schema.RunConfig()
  alone = requests(
    binding.bind(
      concept_lib.avatar('a joker'), {'generic': run.priors['generic']}
    )
  )['generic']
  together = requests(avatar('a joker'))['generic']
  for field in dataclasses.fields(alone):
    np.testing.assert_array_equal(
      getattr(alone, field.name), getattr(together, field.name)
    )


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(st.permutations(['joker', 'green', 'hat', 'smile']))
def test_the_order_of_writing_never_changes_a_request(texts):
  def written(order):
    objective = concept_lib.ComposedObjective()
    for text in order:
      objective += 0.1 * len(text) * avatar(text)
    return requests(objective)['normal']

  assert written(texts).terms == written(sorted(texts)).terms


@pytest.mark.parametrize(
  'schedule, first, middle, last',
  [
    ('fixed', 0.8, 0.8, 0.8),
    ('linear', 0.8, 0.65, 0.5),
    ('sqrt', 0.8, 0.8 - 0.3 * np.sqrt(0.5), 0.5),
    ('refine', 0.5, 0.5, 0.5),
  ],
)
def test_the_schedule_anneals_the_maximum(schedule, first, middle, last):
  noise = schema.NoiseConfig(0.02, 0.8, schedule, 0.5)
  ranges = [score_requests.noise_range(noise, step, 11) for step in (0, 5, 10)]
  np.testing.assert_allclose(
    [high for _, high in ranges], [first, middle, last]
  )
  assert {low for low, _ in ranges} == {0.02}


def test_every_schedule_that_may_be_configured_exists():
  for schedule in validation.CHOICES[r'noise\.schedule']:
    score_requests.noise_range(schema.NoiseConfig(schedule=schedule), 0, 1)
  with pytest.raises(ValueError, match="did you mean 'fixed'?"):
    score_requests.noise_range(schema.NoiseConfig(schedule='fixd'), 0, 1)


def test_noise_levels_fill_their_range():
  levels = score_requests.sample_noise_levels(
    schema.NoiseConfig(0.02, 0.8), 4000, seed=0, step=0, num_steps=1
  )
  assert 0.02 <= levels.min() and levels.max() <= 0.8
  # Four standard errors of a uniform mean.
  assert abs(levels.mean() - 0.41) < 4 * 0.78 / np.sqrt(12 * 4000)


def test_a_channel_that_was_not_rendered_is_one_line():
  with pytest.raises(
    ValueError, match="prior 'normal' looks at channel 'normal', which was not"
  ):
    requests(avatar('a joker'), {'rgb': IMAGES['rgb']})


def test_a_prior_looks_at_one_channel():
  mixed = binding.BoundObjective(
    (
      binding.PriorConcept('generic', 'rgb', 'a'),
      binding.PriorConcept('generic', 'normal', 'b'),
    )
  )
  with pytest.raises(
    ValueError, match='is asked about channels normal and rgb'
  ):
    requests(mixed)


def test_images_and_words_are_of_as_many_views():
  with pytest.raises(
    ValueError, match=r"'rgb' images has shape \(2, 4, 4, 3\)"
  ):
    requests(avatar('a joker'), words=('front',))


def test_cotangents_are_summed_per_channel():
  answers = {
    'generic': answer('generic'),
    'normal': answer('normal', 'normal'),
    'personal': answer('personal'),
  }
  summed = score_requests.sum_cotangents(answers)
  np.testing.assert_array_equal(
    summed['rgb'],
    answers['generic'].cotangent + answers['personal'].cotangent,
  )
  np.testing.assert_array_equal(summed['normal'], answers['normal'].cotangent)
  assert summed['rgb'].dtype == np.float32
  assert list(score_requests.sum_cotangents({'n': answer('n')})) == ['rgb']


def test_the_order_of_priors_never_changes_a_bit():
  # Scales so far apart that float32 addition in another order rounds apart.
  answers = {
    name: answer(name, scale=scale)
    for name, scale in (('a', 1e4), ('b', 1.0), ('c', 1e-3), ('d', 7.0))
  }
  reference = score_requests.sum_cotangents(answers)['rgb']
  for order in itertools.permutations(answers):
    summed = score_requests.sum_cotangents(
      {name: answers[name] for name in order}
    )
    np.testing.assert_array_equal(summed['rgb'], reference)


def test_the_answers_are_left_alone():
  answers = {name: answer(name) for name in ('a', 'b')}
  before = {name: a.cotangent.copy() for name, a in answers.items()}
  for a in answers.values():
    a.cotangent.setflags(write=False)  # As they come from Ray.
  score_requests.sum_cotangents(answers)
  for name, a in answers.items():
    np.testing.assert_array_equal(a.cotangent, before[name])


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_number_that_is_none_names_step_prior_and_concept(value):
  broken = answer('generic', norm_0=1.0, norm_1=value)
  broken.cotangent[0, 0, 0, 0] = value
  with pytest.raises(
    errors.NotFinite,
    match="prior 'generic' answered step 3 with 1 of 96 numbers not finite; "
    'concept 1;',
  ):
    score_requests.sum_cotangents({'a': answer('a'), 'generic': broken})


def test_answers_of_another_shape_are_one_line():
  small = dataclasses.replace(
    answer('b'), cotangent=np.zeros((1, 4, 4, 3), np.float32)
  )
  with pytest.raises(ValueError, match="the answer of prior 'b' has shape"):
    score_requests.sum_cotangents({'a': answer('a'), 'b': small})


def test_a_scheduled_weight_is_that_of_the_step():
  smile = concept_lib.avatar('a smile', schedule='linear(1, 0)')
  objective = avatar('a man') + 2 * smile

  def weights(step):
    return [t.weight for t in requests(objective, step=step)['generic'].terms]

  assert weights(0) == [1.0, 2.0]
  assert weights(9) == [1.0, 0.0]
  assert weights(3) == [1.0, pytest.approx(2 * (1 - 3 / 9))]


PRIORS = {
  name: schema.PriorConfig(channel=channel)
  for name, channel in (('a', 'rgb'), ('b', 'rgb'), ('c', 'normal'))
}


def test_dealt_views_are_looked_at_once_on_each_channel():
  objective = binding.bind(avatar('a man'), PRIORS)
  seen = set()
  for step in range(4):
    views = score_requests.deal_views(objective, 5, step)
    assert sorted([*views['a'], *views['b']]) == list(range(5))
    assert list(views['c']) == list(range(5))
    seen.update(('a', view) for view in views['a'])
  assert len(seen) == 5  # Within a few steps each prior meets every view.


def test_a_dealt_request_holds_its_views_alone():
  objective = binding.bind(avatar('a man'), PRIORS)
  images = {
    name: np.arange(2, dtype=np.float32)[:, None, None, None]
    * np.ones((1, 4, 4, 3), np.float32)
    for name in ('rgb', 'normal')
  }
  views = score_requests.deal_views(objective, 2, 0)
  dealt = requests(objective, images, views=views)
  whole = requests(objective, images)
  for name, shown in views.items():
    np.testing.assert_array_equal(dealt[name].images[:, 0, 0, 0], shown)
    np.testing.assert_array_equal(
      dealt[name].noise_levels, whole[name].noise_levels[shown]
    )
    assert dealt[name].terms[0].prompts == tuple(
      whole[name].terms[0].prompts[view] for view in shown
    )


def test_dealt_answers_lie_at_their_views():
  def one(prior, channel, views, value):
    cotangent = np.full((len(views), 1, 1, 3), value, np.float32)
    return messages.ScoreGradient(0, prior, channel, cotangent, 0, {})

  views = {'a': np.array([0, 2]), 'b': np.array([1]), 'c': np.arange(3)}
  answers = {
    'a': one('a', 'rgb', views['a'], 1.0),
    'b': one('b', 'rgb', views['b'], 5.0),
    'c': one('c', 'normal', views['c'], 7.0),
  }
  totals = score_requests.sum_cotangents(answers, views)
  np.testing.assert_array_equal(totals['rgb'][:, 0, 0, 0], [1, 5, 1])
  np.testing.assert_array_equal(totals['normal'][:, 0, 0, 0], [7, 7, 7])


def test_views_are_not_dealt_to_more_priors_than_there_are():
  objective = binding.bind(avatar('a man'), PRIORS)
  with pytest.raises(errors.UserError) as error:
    score_requests.deal_views(objective, 1, 0)
  assert 'views.deal shares 1 views among 2 priors' in str(error.value)


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(st.integers(1, 6), st.integers(0, 2**31))
def test_dealing_gives_the_same_sum_on_average(num_steps_of_two, seed):
  rng = np.random.default_rng(seed)
  objective = binding.bind(avatar('a man'), PRIORS)
  # What each prior would say of each view; its answer is the mean over views.
  said = {name: rng.standard_normal((4, 1, 1, 3)) for name in ('a', 'b')}
  mean = np.zeros((4, 1, 1, 3))
  num_steps = 2 * num_steps_of_two
  for step in range(num_steps):
    views = score_requests.deal_views(objective, 4, step)
    views = {name: views[name] for name in said}
    answers = {
      name: messages.ScoreGradient(
        step,
        name,
        'rgb',
        (said[name][shown] / len(shown)).astype(np.float32),
        step,
        {},
      )
      for name, shown in views.items()
    }
    mean += score_requests.sum_cotangents(answers, views)['rgb'] / num_steps
  np.testing.assert_allclose(
    mean, (said['a'] + said['b']) / 4, rtol=1e-5, atol=1e-6
  )
