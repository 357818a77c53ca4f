"""What an actor hosts: the order of calls, and the same bits everywhere."""

import dataclasses
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmdist.core import messages
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from tests.priors import tiny

HAPPY = 'a portrait of a happy man'
SAD = 'a portrait of a sad woman'


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior'))


def _terms(texts=(HAPPY, SAD), views=2, weights=(1.0, -0.5), scales=(4.0, 3.0)):
  return tuple(
    messages.Term((f'{text} , front view',) * views, text, weight, scale)
    for text, weight, scale in zip(texts, weights, scales, strict=False)
  )


def _request(step=0, views=2, texts=(HAPPY, SAD), **changes):
  rng = np.random.default_rng(step)
  request = messages.ScoreRequest(
    step=step,
    images=rng.random((views, 16, 16, 3), dtype=np.float32),
    terms=_terms(texts, views),
    noise_levels=rng.uniform(0.02, 0.8, views).astype(np.float32),
    seed=step + 5,
    proxy_step=step,
    proxy_learning_rate=5e-3,
  )
  return dataclasses.replace(request, **changes)


def _run(prior, steps, **changes):
  answers = []
  for step in steps:
    answers.append(prior.score(_request(step, **changes)))
    prior.fit()
  return answers


def _assert_same(state, other):
  assert state.step == other.step
  assert state.arrays.keys() == other.arrays.keys()
  for name, array in state.arrays.items():
    np.testing.assert_array_equal(array, other.arrays[name])


def test_an_answer_says_who_gave_it(directory):
  prior = priors.build(tiny.spec(directory, name='generic', channel='normal'))
  answer = prior.score(_request(0))
  assert (answer.prior, answer.channel, answer.step) == ('generic', 'normal', 0)
  assert answer.proxy_step == 0
  assert answer.cotangent.shape == (2, 16, 16, 3)
  assert answer.cotangent.dtype == np.float32
  assert {'norm_0', 'norm_1', 'cosine_0', 'seconds'} <= answer.metrics.keys()
  assert answer.metrics['seconds'] > 0
  assert set(prior.fit()) == {'proxy_loss', 'proxy_seconds'}


def test_asking_again_gives_the_same_answer(directory):
  prior = priors.build(tiny.spec(directory, dtype='bfloat16'))
  _run(prior, [0])
  answers = [prior.score(_request(1)) for _ in range(2)]
  np.testing.assert_array_equal(answers[0].cotangent, answers[1].cotangent)


@pytest.mark.parametrize('proxy_noise', ['own', 'shared'])
def test_a_restored_prior_goes_on_bit_for_bit(directory, proxy_noise):
  spec = tiny.spec(directory, proxy_noise=proxy_noise)
  prior = priors.build(spec)
  _run(prior, [0, 1])
  state = pickle.loads(pickle.dumps(prior.save_proxy()))
  on = _run(prior, [2, 3])
  other = priors.build(spec)
  other.restore_proxy(state)
  for answer, again in zip(on, _run(other, [2, 3]), strict=True):
    np.testing.assert_array_equal(answer.cotangent, again.cotangent)
  _assert_same(prior.save_proxy(), other.save_proxy())


@pytest.mark.slow  # Imports torch and diffusers once more.
def test_another_process_answers_with_the_same_bits(directory):
  spec = tiny.spec(directory, dtype='bfloat16')
  prior = priors.build(spec)
  here = _run(prior, [0, 1])[1]
  program = (
    'import sys, pickle\n'
    'spec, requests = pickle.load(sys.stdin.buffer)\n'
    'from mmdist.priors import prior as priors\n'
    'prior = priors.build(spec)\n'
    'for request in requests:\n'
    '  answer = prior.score(request); prior.fit()\n'
    'assert "jax" not in sys.modules\n'
    'pickle.dump((answer, prior.save_proxy()), sys.stdout.buffer)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    input=pickle.dumps((spec, [_request(0), _request(1)])),
    capture_output=True,
    check=True,
  )
  there, state = pickle.loads(done.stdout)
  np.testing.assert_array_equal(here.cotangent, there.cotangent)
  _assert_same(prior.save_proxy(), state)


def test_the_fit_carries_no_sign_or_weight(directory):
  # Only the cotangent that the learner gets is signed.
  states = []
  for weights in [(1.0, -0.5), (-3.0, 2.0)]:
    prior = priors.build(tiny.spec(directory))
    _run(prior, [0, 1], terms=_terms(weights=weights))
    states.append(prior.save_proxy())
  _assert_same(*states)


def test_the_order_of_concepts_does_not_reach_the_fit(directory):
  states = []
  for texts in [(HAPPY, SAD), (SAD, HAPPY)]:
    prior = priors.build(tiny.spec(directory))
    _run(prior, [0, 1], texts=texts)
    states.append(prior.save_proxy())
  _assert_same(*states)


def test_the_seed_alone_decides_noise_and_fit(directory):
  prior = priors.build(tiny.spec(directory))
  torch.manual_seed(1)
  one = prior.score(_request(0))
  torch.manual_seed(2)
  np.testing.assert_array_equal(
    prior.score(_request(0)).cotangent, one.cotangent
  )
  other = prior.score(_request(0, seed=6))
  assert not np.array_equal(other.cotangent, one.cotangent)


def test_fits_lower_the_loss_on_what_is_shown(directory):
  prior = priors.build(tiny.spec(directory))
  losses = []
  for step in range(10):
    # The same renders and draws, so that losses can be compared.
    request = dataclasses.replace(
      _request(0, texts=(HAPPY,)), proxy_step=step, proxy_learning_rate=2e-2
    )
    prior.score(request)
    losses.append(prior.fit()['proxy_loss'])
  assert losses[-1] < 0.95 * losses[0]


def test_shared_noise_is_the_scores(directory):
  prior = priors.build(tiny.spec(directory, proxy_noise='shared'))
  seen = []
  prior.pipeline.denoiser.register_forward_pre_hook(
    lambda module, args: seen.append(args)
  )
  prior.score(_request(0, texts=(HAPPY,)))
  prior.fit()
  scored, fitted = seen[1], seen[-1]
  assert torch.equal(scored[0], fitted[0])
  assert torch.equal(scored[1], fitted[1])


def test_sds_has_no_proxy_but_counts(directory):
  prior = priors.build(tiny.spec(directory, objective='sds'))
  _run(prior, [0, 1])
  state = prior.save_proxy()
  assert (state.step, dict(state.arrays)) == (2, {})
  other = priors.build(tiny.spec(directory, objective='sds'))
  other.restore_proxy(state)
  assert other.score(_request(2)).proxy_step == 2
  vsd = priors.build(tiny.spec(directory))
  with pytest.raises(ValueError, match='runs sds, which has no proxy'):
    other.restore_proxy(vsd.save_proxy())


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('objective', ['vsd', 'sds'])
def test_a_copy_says_in_which_numbers_the_network_computes(
  directory, dtype, objective
):
  spec = tiny.spec(directory, dtype=dtype, objective=objective)
  assert priors.build(spec).save_proxy().dtype == dtype


def test_a_directory_laid_out_as_stable_diffusion_runs(tmp_path):
  # A VAE, CLIP's tokenizer, PNDM's config, eps; no mmdist.json.
  directory = tiny.write_pipeline(tmp_path, 'epsilon', codec='vae')
  shutil.rmtree(directory / 'tokenizer')
  tiny.clip_tokenizer(directory / 'tokenizer')
  scheduler = directory / 'scheduler' / 'scheduler_config.json'
  scheduler.write_text(
    '{"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", '
    '"beta_start": 0.00085, "beta_end": 0.012, "skip_prk_steps": true}'
  )
  prior = priors.build(tiny.spec(directory, dtype='bfloat16'))
  terms = (
    messages.Term(('a hat',) * 2, 'a hat', 1.0, 4.0),
    messages.Term(('a cat',) * 2, 'a cat', -0.5, 3.0),
  )
  answers = _run(prior, [0, 1], terms=terms)
  assert np.isfinite(answers[1].cotangent).all()
  assert answers[1].cotangent.any()
  assert prior.save_proxy().step == 2


def test_a_proxy_of_another_step_is_refused(directory):
  prior = priors.build(tiny.spec(directory, name='generic'))
  with pytest.raises(ValueError) as caught:
    prior.score(_request(3))
  assert str(caught.value) == (
    "step 3 expects a proxy of prior 'generic' with 3 fits behind it; it has "
    '0. Restore the proxy of that step.'
  )


def test_a_fit_needs_a_score(directory):
  prior = priors.build(tiny.spec(directory))
  with pytest.raises(RuntimeError, match='asked to fit before'):
    prior.fit()
  _run(prior, [0])
  with pytest.raises(RuntimeError, match='asked to fit before'):
    prior.fit()


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    (
      {'images': np.zeros((2, 16, 16, 4), np.float32)},
      r'expected \[V, H, W, 3',
    ),
    ({'noise_levels': np.zeros(3, np.float32)}, r'expected \[2\]'),
    ({'terms': ()}, r'has \[\] prompts per term for 2 views'),
    ({'terms': _terms(views=1)}, r'has \[1, 1\] prompts per term'),
  ],
)
def test_a_request_that_does_not_fit_together_is_refused(
  directory, changes, words
):
  prior = priors.build(tiny.spec(directory))
  with pytest.raises(ValueError, match=words):
    prior.score(_request(0, **changes))


def test_numbers_that_are_not_finite_are_named(directory):
  prior = priors.build(tiny.spec(directory, name='generic'))
  broken = _request(0, images=np.full((2, 16, 16, 3), np.nan, np.float32))
  with pytest.raises(
    FloatingPointError, match="step 0, prior 'generic'.*as give"
  ):
    prior.score(broken)
  with pytest.raises(FloatingPointError, match=f"not finite for '{SAD}'"):
    prior.score(_request(0, terms=_terms(scales=(4.0, np.inf))))


def test_a_negative_is_not_named_for_a_positive_that_is_not_finite(directory):
  prior = priors.build(tiny.spec(directory))
  request = _request(0, terms=_terms(scales=(np.inf, 3.0)), mode='perp')
  with pytest.raises(FloatingPointError, match=f"finite for '{HAPPY}'\\.$"):
    prior.score(request)


def test_a_fit_that_is_not_finite_moves_nothing(directory):
  prior = priors.build(tiny.spec(directory, name='generic'))
  before = prior.save_proxy()
  prior.score(_request(0))
  hook = prior.pipeline.denoiser.conv_out.register_forward_hook(
    lambda module, args, output: output * np.nan
  )
  with pytest.raises(
    FloatingPointError, match="step 0, prior 'generic': fit 0"
  ):
    prior.fit()
  hook.remove()
  _assert_same(prior.save_proxy(), before)
  assert prior.score(_request(0)).proxy_step == 0


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'objective': 'vds'}, "did you mean 'vsd'"),
    ({'weighting': 'sigma'}, "did you mean 'sigma2'"),
    ({'proxy_noise': 'mine'}, 'own, shared'),
    ({'channel': 'norml'}, "did you mean 'normal'"),
  ],
)
def test_a_misspelt_spec_is_answered_with_the_nearest(
  directory, changes, words
):
  with pytest.raises(ValueError, match=words):
    priors.build(tiny.spec(directory, **changes))


def test_threads_are_set_only_when_asked(directory):
  before = torch.get_num_threads()
  priors.build(tiny.spec(directory, num_threads=0))
  assert torch.get_num_threads() == before
  priors.build(tiny.spec(directory, num_threads=1))
  assert torch.get_num_threads() == 1


def refuse_if_strict():
  if not torch.is_deterministic_algorithms_warn_only_enabled():
    raise RuntimeError(
      'put_ does not have a deterministic implementation, but you set it.'
    )


@pytest.mark.parametrize('proxy_per', ['prior', 'concept'])
def test_a_network_that_cannot_be_strict_is_said_once_and_goes_on(
  directory, monkeypatch, caplog, proxy_per
):
  spec = tiny.spec(directory, proxy_per=proxy_per)
  expected = priors.build(spec)
  before = _run(expected, range(2)), expected.save_proxy()
  predict = pipelines.predict

  def refusing(*args):
    refuse_if_strict()
    return predict(*args)

  monkeypatch.setattr(pipelines, 'predict', refusing)
  prior = priors.build(spec)
  answers, state = _run(prior, range(2)), prior.save_proxy()
  assert caplog.text.count('put_ does not have a deterministic') == 1
  assert f"prior '{spec.name}'" in caplog.text
  for one, other in zip(answers, before[0], strict=True):
    np.testing.assert_array_equal(one.cotangent, other.cotangent)
  _assert_same(state, before[1])


def test_a_fit_that_cannot_be_strict_moves_each_proxy_once(
  directory, monkeypatch, caplog
):
  prior = priors.build(tiny.spec(directory, proxy_per='concept'))
  expected = priors.build(tiny.spec(directory, proxy_per='concept'))
  _run(expected, range(1))
  prior.score(_request())
  grad = torch.autograd.grad

  def refusing(*args, **kwargs):
    refuse_if_strict()
    return grad(*args, **kwargs)

  monkeypatch.setattr(torch.autograd, 'grad', refusing)
  prior.fit()
  assert 'may differ in their last bits' in caplog.text
  _assert_same(prior.save_proxy(), expected.save_proxy())


def test_strictness_is_for_the_priors_own_calls(directory):
  _run(priors.build(tiny.spec(directory)), range(1))
  assert torch.is_deterministic_algorithms_warn_only_enabled()
  assert torch.are_deterministic_algorithms_enabled()


def test_other_errors_of_a_network_stay_what_they_are(directory, monkeypatch):
  prior = priors.build(tiny.spec(directory))

  def broken(*args):
    raise RuntimeError('shapes')

  monkeypatch.setattr(priors.scores, 'score', broken)
  with pytest.raises(RuntimeError, match='shapes'):
    prior.score(_request())
