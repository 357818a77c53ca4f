"""The ledger of priors whose answers are known in closed form.

The residual of a Gaussian concept against an exact proxy does not depend on the
renders: it is the difference of the two means, times a number of the view's
noise level (see `tests/priors/vsd_equilibrium_test.py`). So every number of the
ledger can be computed by hand.
"""

import dataclasses

import numpy as np
import pytest
import torch

from mmdist.config import schema
from mmdist.core import messages
from mmdist.objectives import ledger
from mmdist.priors import score as scores
from mmdist.results import ledger_table
from tests.priors import vsd_equilibrium_test as gaussians

WEIGHTS = {'happy': 1.5, 'sad': -0.5}
RENDERS = np.float32([0.1, 0.1, 0.0])  # The mean that the proxy knows.


def ask(request, proxy_mean=RENDERS):
  """Returns one step's metrics of one prior's answer."""
  pipeline = gaussians._pipeline()
  proxy = gaussians.ExactProxy(pipeline.denoiser)
  proxy.mean = torch.from_numpy(proxy_mean)
  answer = scores.score(pipeline, proxy, request)
  gradient = messages.ScoreGradient(
    step=request.step,
    prior='generic',
    channel='rgb',
    cotangent=answer.cotangent,
    proxy_step=0,
    metrics={**answer.metrics, 'seconds': 0.5},
  )
  fits = {'generic': {'proxy_loss': 0.25, 'proxy_seconds': 1.5}}
  row = {
    'step': request.step,
    **ledger.step_metrics({'generic': gradient}, fits),
  }
  return row, answer.cotangent


def parts_by_hand(request):
  """Returns [M, V, 3]: weight x w(t) x (eps of the base - the proxy's)."""
  signal = gaussians._schedule().signal.numpy().astype(np.float64)
  timestep = np.round(request.noise_levels * (len(signal) - 1)).astype(int)
  a2 = signal[timestep] ** 2
  s2 = 1 - a2
  scale = s2 * np.sqrt(s2 * a2) / (a2 * gaussians.VARIANCE + s2)
  return np.array(
    [
      term.weight
      * scale[:, None]
      * (RENDERS - np.array(gaussians.MEANS[term.plain_prompt]))
      for term in request.terms
    ]
  )


def expected(request):
  """Returns norms of dL/d image, cosines with the sum and shares, by hand."""
  # The parts are the same in every pixel.
  parts = np.repeat(parts_by_hand(request), gaussians.SIZE**2, axis=1)
  parts = parts.reshape(len(parts), -1)
  total = parts.sum(0)
  norms = np.linalg.norm(parts, axis=1)
  inner = parts @ total
  return (
    2 * norms / total.size,  # A mean over all numbers; networks see 2x - 1.
    inner / norms / np.linalg.norm(total),
    inner / (total @ total),
  )


def config():
  run = schema.RunConfig(
    concepts=[schema.ConceptConfig(text, w) for text, w in WEIGHTS.items()]
  )
  run.priors = {'generic': schema.PriorConfig()}
  return run


def test_the_table_has_the_numbers_computed_by_hand():
  requests = [gaussians._request(WEIGHTS, RENDERS, step) for step in range(6)]
  table = ledger_table.make([ask(r)[0] for r in requests], config(), 2, 5)
  by_hand = np.mean([expected(r) for r in requests[2:5]], axis=0)
  assert table['concept'] == ['happy', 'sad']
  assert table['weight'] == [1.5, -0.5]
  for column, numbers in zip(('norm', 'cosine', 'share'), by_hand):
    # The networks compute in float32.
    np.testing.assert_allclose(table[column], numbers, rtol=1e-4)
  cosines = np.array([expected(r)[1] for r in requests[2:5]])
  assert table['conflict'] == list((cosines < 0).mean(0))
  assert table['proxy_loss'] == [0.25, 0.25]
  assert table['seconds'] == [0.5, 0.5] and table['fit_seconds'] == [1.5, 1.5]
  assert table['steps'] == [3, 3]


def test_a_concept_that_the_sum_works_against_is_in_conflict():
  # Both means lie on the same side of the renders: going from one of them is
  # going from the other.
  request = gaussians._request({'happy': 0.2, 'sad': -1.0}, RENDERS, 0)
  away = np.float32(gaussians.MEANS['happy']) + np.float32([0.5, 0.0, 0.0])
  row, _ = ask(request, proxy_mean=away)
  cosine = row['cosine/generic/0']
  assert cosine < 0 < row['cosine/generic/1']
  assert row['share/generic/0'] < 0
  table = ledger_table.make([row], config())
  assert table['conflict'] == [1.0, 0.0]


def request_of(*terms):
  """Asks for (text, weight) pairs, of which texts may be the same."""
  request = gaussians._request({'happy': 1.0}, RENDERS, 0)
  return dataclasses.replace(
    request,
    terms=tuple(
      messages.Term((text,) * gaussians.NUM_VIEWS, text, weight, 1.0)
      for text, weight in terms
    ),
  )


def test_a_concept_against_itself_is_exactly_zero():
  row, cotangent = ask(request_of(('happy', 0.7), ('happy', -0.7)))
  assert not cotangent.any()
  for name in ('cotangent_norm', 'cosine', 'share'):
    assert row[f'{name}/generic'] == 0.0
  for index in range(2):
    assert row[f'cosine/generic/{index}'] == row[f'share/generic/{index}'] == 0


@pytest.mark.parametrize('weight', [0.1, 0.7, 3.0])
def test_beside_another_a_concept_against_itself_has_no_share(weight):
  row, cotangent = ask(
    request_of(('happy', 1.0), ('sad', weight), ('sad', -weight))
  )
  alone, expected_cotangent = ask(request_of(('happy', 1.0)))
  np.testing.assert_array_equal(cotangent, expected_cotangent)
  assert row['share/generic/1'] + row['share/generic/2'] == 0.0
  assert row['share/generic/0'] == alone['share/generic/0']
