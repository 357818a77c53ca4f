"""One proxy per concept: what each learns, and that all come back."""

import dataclasses

import numpy as np
import pytest

from mmdist.core import messages
from mmdist.distribution import actor
from mmdist.distribution import journal
from mmdist.priors import prior as priors
from tests.priors import tiny

HAPPY = 'a portrait of a happy man'
SAD = 'a portrait of a sad woman'


@pytest.fixture(scope='module', name='directory')
def fixture_directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior'))


def build(directory, **options) -> priors.DiffusionPrior:
  return priors.build(tiny.spec(directory, **options))


def request(step, *texts, **changes) -> messages.ScoreRequest:
  rng = np.random.default_rng(step)
  asked = messages.ScoreRequest(
    step=step,
    images=rng.random((2, 16, 16, 3), dtype=np.float32),
    terms=tuple(
      messages.Term((f'{text} , front view',) * 2, text, 1.0, 4.0)
      for text in texts
    ),
    noise_levels=rng.uniform(0.1, 0.8, 2).astype(np.float32),
    seed=step + 5,
    proxy_step=step,
    proxy_learning_rate=2e-2,
  )
  return dataclasses.replace(asked, **changes)


def run(prior, steps, *texts) -> list[np.ndarray]:
  cotangents = []
  for step in steps:
    cotangents.append(prior.score(request(step, *texts)).cotangent)
    prior.fit()
  return cotangents


def arrays_of(prior, text) -> dict[str, np.ndarray]:
  return prior.proxy.of(text).save().arrays


def assert_same(first, second):
  assert first.keys() == second.keys()
  for name in first:
    np.testing.assert_array_equal(first[name], second[name])


def test_a_concepts_proxy_never_learns_of_the_others(directory):
  both = build(directory, proxy_per='concept')
  alone = build(directory, proxy_per='concept')
  run(both, range(3), HAPPY, SAD)
  run(alone, range(3), HAPPY)
  assert_same(arrays_of(both, HAPPY), arrays_of(alone, HAPPY))
  changed = [
    name
    for name, array in arrays_of(both, SAD).items()
    if np.any(array != arrays_of(both, HAPPY)[name])
  ]
  assert changed


@pytest.mark.parametrize('batched', [False, True])
def test_each_concept_is_compared_with_its_own_proxy(directory, batched):
  memory = messages.MemoryOptions(batched=batched)
  both = build(directory, proxy_per='concept', memory=memory)
  run(both, range(2), HAPPY, SAD)
  (together,) = run(both, [2], HAPPY, SAD)
  parts = []
  for text in (HAPPY, SAD):
    one = build(directory, proxy_per='concept', memory=memory)
    run(one, range(2), text)
    parts += run(one, [2], text)
  # The residuals are added before the way back to pixels, here after it.
  scale = np.abs(together).max()
  np.testing.assert_allclose(together / scale, sum(parts) / scale, atol=2e-5)


def test_all_proxies_come_back_bit_for_bit(directory):
  first, second = (build(directory, proxy_per='concept') for _ in range(2))
  run(first, range(2), HAPPY, SAD)
  state = first.save_proxy()
  expected = run(first, [2, 3], HAPPY, SAD)
  second.restore_proxy(state)
  assert second.proxy_step == state.step == 2
  for found, wanted in zip(
    run(second, [2, 3], HAPPY, SAD), expected, strict=True
  ):
    np.testing.assert_array_equal(found, wanted)
  assert_same(first.save_proxy().arrays, second.save_proxy().arrays)


def resumed(directory, state) -> priors.DiffusionPrior:
  prior = build(directory, proxy_per='concept')
  prior.restore_proxy(state)
  return prior


def test_a_concept_that_came_later_comes_back_bit_for_bit(directory):
  first = build(directory, proxy_per='concept')
  run(first, range(2), HAPPY)
  # As after --resume_with_changes=concepts.
  second = resumed(directory, first.save_proxy())
  run(second, [2], HAPPY, SAD)
  third = resumed(directory, second.save_proxy())
  steps = [proxy.step for proxy in map(third.proxy.of, (HAPPY, SAD))]
  assert steps == [3, 1]
  expected = run(second, [3, 4], HAPPY, SAD)
  for found, wanted in zip(
    run(third, [3, 4], HAPPY, SAD), expected, strict=True
  ):
    np.testing.assert_array_equal(found, wanted)
  assert_same(second.save_proxy().arrays, third.save_proxy().arrays)


def test_a_replay_after_concepts_changed_gives_the_same_answers(directory):
  recipe = messages.PriorRecipe(
    tiny.spec(directory, proxy_per='concept'), priors.build
  )

  def digest_of(session, step, *texts) -> str:
    reply = session.score(request(step, *texts))
    session.fit(step, step)
    return journal.digest(reply)

  lost, new = actor.Session(recipe), actor.Session(recipe)
  for step in range(2):
    digest_of(lost, step, HAPPY)
  digest_of(lost, 2, HAPPY, SAD)
  snapshot = lost.save_proxy()
  before = [digest_of(lost, step, HAPPY, SAD) for step in (3, 4)]
  # The actor dies, and another one replays what followed the snapshot.
  new.restore_proxy(snapshot)
  assert [digest_of(new, step, HAPPY, SAD) for step in (3, 4)] == before


def test_a_concept_that_is_not_asked_any_more_loses_its_proxy(directory):
  prior, alone = (build(directory, proxy_per='concept') for _ in range(2))
  run(prior, range(2), HAPPY, SAD)
  both = prior.save_proxy()
  expected = run(prior, [2], SAD)
  run(alone, range(3), SAD)
  # The proxy that stays is what it would be if it had always been alone.
  assert_same(prior.save_proxy().arrays, alone.save_proxy().arrays)
  adapters = prior.pipeline.denoiser.peft_config
  assert list(adapters) == list(alone.pipeline.denoiser.peft_config)
  # A copy from before it was taken out still comes back.
  again = resumed(directory, both)
  np.testing.assert_array_equal(run(again, [2], SAD), expected)


def test_a_copy_without_counts_is_of_equal_ones(directory):
  first = build(directory, proxy_per='concept')
  run(first, range(2), HAPPY, SAD)
  state = first.save_proxy()
  # As checkpoints of schema 2 have them.
  arrays = {
    name: array
    for name, array in state.arrays.items()
    if not name.endswith('/step')
  }
  assert len(arrays) == len(state.arrays) - 2
  old = resumed(directory, messages.ProxyState(state.step, arrays))
  np.testing.assert_array_equal(
    run(old, [2, 3], HAPPY, SAD), run(first, [2, 3], HAPPY, SAD)
  )


def test_a_proxy_that_came_after_the_copy_begins_anew(directory):
  prior, fresh = (build(directory, proxy_per='concept') for _ in range(2))
  state = prior.save_proxy()
  assert not state.arrays
  expected = run(prior, range(2), HAPPY)
  prior.restore_proxy(state)
  for found, wanted in zip(run(prior, range(2), HAPPY), expected, strict=True):
    np.testing.assert_array_equal(found, wanted)
  fresh.restore_proxy(prior.save_proxy())
  assert_same(fresh.save_proxy().arrays, prior.save_proxy().arrays)


def test_before_any_fit_one_proxy_and_several_answer_alike(directory):
  one = build(directory)
  several = build(directory, proxy_per='concept')
  asked = request(0, HAPPY, SAD)
  np.testing.assert_allclose(
    one.score(asked).cotangent, several.score(asked).cotangent, atol=1e-7
  )


def test_the_loss_told_is_the_mean_over_concepts(directory):
  losses = {}
  for texts in ((HAPPY,), (SAD,), (HAPPY, SAD)):
    prior = build(directory, proxy_per='concept')
    prior.score(request(0, *texts))
    losses[texts] = prior.fit()['proxy_loss']
  mean = (losses[(HAPPY,)] + losses[(SAD,)]) / 2
  assert losses[(HAPPY, SAD)] == pytest.approx(mean, rel=1e-5)


def test_a_state_of_one_shared_proxy_is_refused(directory):
  shared = build(directory)
  run(shared, [0], HAPPY)
  with pytest.raises(ValueError, match='proxy state is of another proxy'):
    build(directory, proxy_per='concept').restore_proxy(shared.save_proxy())


def test_the_loss_of_each_concepts_proxy_is_reported(directory):
  prior, alone = (build(directory, proxy_per='concept') for _ in range(2))
  prior.score(request(0, SAD, HAPPY))
  both = prior.fit()
  alone.score(request(0, HAPPY))
  # Each proxy draws its own t and noise, so another one changes nothing.
  assert both['proxy_loss_1'] == pytest.approx(alone.fit()['proxy_loss_0'])
  mean = (both['proxy_loss_0'] + both['proxy_loss_1']) / 2
  assert both['proxy_loss'] == pytest.approx(mean)
