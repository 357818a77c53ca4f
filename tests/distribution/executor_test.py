import dataclasses

import numpy as np
import pytest

from mmdist.core import messages
from mmdist.distribution import executor
from mmdist.distribution import faults
from tests.distribution import fake_prior


def inline(*recipes) -> executor.InlineExecutor:
  return executor.InlineExecutor(recipes)


def test_answers_are_those_of_the_priors_themselves():
  prior = fake_prior.FakePrior(fake_prior.recipe('generic').spec)
  with inline(fake_prior.recipe('generic')) as running:
    for step in range(3):
      request = fake_prior.request(step)
      answer = running.submit({'generic': request}).result()['generic']
      np.testing.assert_array_equal(
        answer.cotangent, prior.score(request).cotangent
      )
      prior.fit()


def test_the_answer_comes_before_the_fit(tmp_path):
  mark = tmp_path / 'fitted'
  with inline(fake_prior.recipe('generic', f'slow_fit:{mark}')) as running:
    running.submit(fake_prior.requests(0, 'generic')).result()
    assert not mark.exists()
    running.save_proxies()
    assert mark.exists()


def test_what_a_fit_reports_is_there_at_the_next_step():
  with inline(fake_prior.recipe('generic')) as running:
    running.submit(fake_prior.requests(0, 'generic')).result()
    assert running.fit_metrics() == {}
    running.submit(fake_prior.requests(1, 'generic')).result()
    assert running.fit_metrics()['generic']['proxy_loss'] > 0


def test_the_order_of_recipes_and_requests_does_not_matter():
  names = ('normal', 'generic', 'personal')
  answers = []
  for order in (names, names[::-1]):
    with inline(*map(fake_prior.recipe, order)) as running:
      running.wait_until_ready()
      answers.append(running.submit(fake_prior.requests(0, *order)).result())
  assert list(answers[0]) == list(answers[1]) == sorted(names)
  for name in names:
    np.testing.assert_array_equal(
      answers[0][name].cotangent, answers[1][name].cotangent
    )


def test_proxies_are_saved_with_every_fit_and_restored():
  with inline(fake_prior.recipe('generic')) as running:
    running.submit(fake_prior.requests(0, 'generic')).result()
    states = running.save_proxies()
    expected = running.submit(fake_prior.requests(1, 'generic')).result()
  assert states['generic'].step == 1
  with inline(fake_prior.recipe('generic')) as resumed:
    resumed.restore_proxies(states)
    answers = resumed.submit(fake_prior.requests(1, 'generic')).result()
  np.testing.assert_array_equal(
    answers['generic'].cotangent, expected['generic'].cotangent
  )


def test_a_prior_that_raises_is_named_with_its_step():
  recipes = [
    fake_prior.recipe('generic'),
    fake_prior.recipe('normal', 'raise_score'),
  ]
  with inline(*recipes) as running:
    pending = running.submit(fake_prior.requests(0, 'generic', 'normal'))
    for _ in range(2):  # Asking again does not turn into a subset.
      with pytest.raises(faults.PriorFailed) as error:
        pending.result()
  assert str(error.value) == (
    "prior 'normal' failed at step 0: FloatingPointError: the score exploded"
  )


def test_a_fit_that_raises_surfaces_at_the_next_call():
  for call in (
    lambda e: e.submit(fake_prior.requests(1, 'generic')).result(),
    lambda e: e.save_proxies(),
  ):
    with inline(fake_prior.recipe('generic', 'raise_fit')) as running:
      running.submit(fake_prior.requests(0, 'generic')).result()
      with pytest.raises(faults.PriorFailed, match='at step 0: .*the fit expl'):
        call(running)


def test_a_prior_that_cannot_be_built_is_named():
  with pytest.raises(
    faults.PriorFailed,
    match="prior 'generic' failed: FileNotFoundError: no unet/ in raise_build",
  ):
    inline(fake_prior.recipe('generic', 'raise_build'))


def test_an_unknown_prior_is_one_line():
  with inline(fake_prior.recipe('generic')) as running:
    with pytest.raises(ValueError, match="'generc'; did you mean 'generic'?"):
      running.submit(fake_prior.requests(0, 'generc'))


def test_proxies_are_restored_all_or_not_at_all():
  state = messages.ProxyState(7, {'lora/target': np.ones((1, 1, 1, 3))})
  with inline(*map(fake_prior.recipe, ('generic', 'normal'))) as running:
    with pytest.raises(ValueError, match='no proxy state for normal'):
      running.restore_proxies({'generic': state})
    assert running.save_proxies()['generic'].step == 0


def test_names_are_of_one_prior_each():
  with pytest.raises(ValueError, match='a name of its own for each'):
    inline(fake_prior.recipe('generic'), fake_prior.recipe('generic'))
  with pytest.raises(ValueError, match='at least one'):
    inline()


def test_closing_twice_is_harmless():
  running = inline(fake_prior.recipe('generic'))
  running.close()
  running.close()


def closable(name, closed, behaviour='well', is_given=False):
  """Returns the recipe of a prior that notes its name when it is closed."""
  recipe = fake_prior.recipe(name, behaviour)

  def build(spec):
    prior = fake_prior.FakePrior(spec)

    def close():
      closed.append(spec.name)
      if spec.name == 'normal':
        raise RuntimeError('cannot be closed')

    prior.close = close
    return prior

  return dataclasses.replace(recipe, build=build, is_given=is_given)


def test_all_priors_are_closed_once_also_where_one_of_them_fails():
  closed = []
  names = ('generic', 'normal', 'personal')
  running = inline(
    *(closable(name, closed) for name in names), fake_prior.recipe('without')
  )
  with pytest.raises(RuntimeError, match='cannot be closed'):
    running.close()
  running.close()
  assert sorted(closed) == sorted(names)


@pytest.mark.parametrize('name', ['generic', 'normal'])  # Of which one fails.
def test_priors_are_closed_where_a_later_one_cannot_be_built(name):
  closed = []
  with pytest.raises(faults.PriorFailed, match='personal'):
    inline(closable(name, closed), fake_prior.recipe('personal', 'raise_build'))
  assert closed == [name]


def test_an_object_that_was_handed_over_is_left_to_its_owner():
  closed = []
  inline(closable('generic', closed, is_given=True)).close()
  assert not closed
