"""Priors on a GPU: near the CPU's answers, and the same bits every time."""

import numpy as np
import pytest
import torch

from mmdist.core import asset_paths
from mmdist.core import messages
from mmdist.priors import prior as priors
from tests.priors import tiny
from tests.priors import tiny_families

pytestmark = pytest.mark.gpu
TEXTS = ('a portrait of a happy man', 'a portrait of a sad woman')
DEVICE = 'cuda'


@pytest.fixture(name='directory', params=['color', 'sd1'], scope='module')
def fixture_directory(request, tmp_path_factory):
  if request.param == 'color':
    return asset_paths.resolve('color')
  return tiny_families.write('sd1', tmp_path_factory.mktemp('sd1'))


def make_request(step: int) -> messages.ScoreRequest:
  rng = np.random.default_rng(step)
  return messages.ScoreRequest(
    step=step,
    images=rng.random((2, 16, 16, 3), dtype=np.float32),
    terms=tuple(
      messages.Term((text,) * 2, text, weight, 4.0)
      for text, weight in zip(TEXTS, (1.0, -0.5), strict=True)
    ),
    noise_levels=rng.uniform(0.1, 0.8, 2).astype(np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=5e-3,
  )


def first_answer(directory, device, dtype='float32'):
  """Returns the cotangent of a first score, and the loss of its fit."""
  prior = priors.build(tiny.spec(directory, device=device, dtype=dtype))
  cotangent = prior.score(make_request(0)).cotangent
  return cotangent, prior.fit()['proxy_loss']


def relative(found, expected) -> float:
  """Returns the length of the difference, in lengths of what is expected."""
  return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
  'dtype, tf32, tolerance',
  [
    # Float32 in another order; a residual is a difference of predictions.
    ('float32', False, 1e-3),
    # Convolutions are TF32 by torch's default, with 10 bits of mantissa.
    ('float32', True, 5e-2),
    # 8 bits; here it is measured, and only kept from being something else.
    ('bfloat16', True, 0.5),
  ],
)
def test_an_answer_on_the_gpu_is_near_that_of_the_cpu(
  directory, dtype, tf32, tolerance, monkeypatch, record_property
):
  monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', tf32)
  expected, loss = first_answer(directory, 'cpu')
  found, loss_there = first_answer(directory, DEVICE, dtype)
  deviation = relative(found, expected)
  record_property('relative deviation', f'{deviation:.2e}')
  record_property('of the loss', f'{abs(loss_there / loss - 1):.2e}')
  assert deviation < tolerance
  assert loss_there == pytest.approx(loss, rel=tolerance)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize(
  'changes', [{}, {'batched': True}, {'cuda_graphs': True}]
)
def test_the_same_steps_have_the_same_bits(directory, dtype, changes):
  memory = messages.MemoryOptions(**changes)
  spec = tiny.spec(directory, device=DEVICE, dtype=dtype, memory=memory)
  one, two = (priors.build(spec) for _ in range(2))
  for step in range(3):
    answers = [prior.score(make_request(step)) for prior in (one, two)]
    np.testing.assert_array_equal(*(a.cotangent for a in answers))
    assert one.fit()['proxy_loss'] == two.fit()['proxy_loss']
  states = [prior.save_proxy().arrays for prior in (one, two)]
  for name, array in states[0].items():
    np.testing.assert_array_equal(array, states[1][name])


def test_recorded_passes_are_those_of_python(directory, record_property):
  """Also after a proxy went back to a copy, which changes it in place."""
  plain, recorded = (
    priors.build(
      tiny.spec(
        directory,
        device=DEVICE,
        dtype='float32',
        memory=messages.MemoryOptions(cuda_graphs=on),
      )
    )
    for on in (False, True)
  )
  saved = [prior.save_proxy() for prior in (plain, recorded)]
  deviations = []
  for step in (0, 1, 2, 0, 1):
    if step == 0:
      for prior, state in zip((plain, recorded), saved, strict=True):
        prior.restore_proxy(state)
    answers = [
      prior.score(make_request(step)).cotangent for prior in (plain, recorded)
    ]
    deviations.append(relative(answers[1], answers[0]))
    losses = [prior.fit()['proxy_loss'] for prior in (plain, recorded)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
  record_property('relative deviation', f'{max(deviations):.2e}')
  assert max(deviations) < 1e-3
