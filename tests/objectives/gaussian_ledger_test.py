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
from mmdist.core import composition
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import ledger
from mmdist.objectives import score_requests
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
  return ledger_of(parts_by_hand(request))


def ledger_of(parts):
  """As `expected`, of [M, V, 3] parts."""
  # The parts are the same in every pixel.
  parts = np.repeat(parts, gaussians.SIZE**2, axis=1)
  parts = parts.reshape(len(parts), -1)
  total = parts.sum(0)
  norms = np.linalg.norm(parts, axis=1)
  inner = parts @ total
  lengths = norms * np.linalg.norm(total)
  return (
    2 * norms / total.size,  # A mean over all numbers; networks see 2x - 1.
    inner / np.where(lengths, lengths, 1.0),
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
  assert table['concept'] == [None, 'happy', 'sad']
  assert table['weight'] == [None, 1.5, -0.5]
  for column, numbers in zip(('norm', 'cosine', 'share'), by_hand):
    # The networks compute in float32.
    np.testing.assert_allclose(table[column][1:], numbers, rtol=1e-4)
  # The whole answer is alone on its channel.
  whole = table[0]
  assert (whole['cosine'], whole['share']) == pytest.approx((1.0, 1.0))
  cosines = np.array([expected(r)[1] for r in requests[2:5]])
  assert table['conflict'] == [0.0, *(cosines < 0).mean(0)]
  assert table['proxy_loss'] == [0.25] * 3
  assert table['seconds'] == [0.5] * 3 and table['fit_seconds'] == [1.5] * 3
  assert table['steps'] == [3] * 3


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
  assert table['conflict'] == [0.0, 1.0, 0.0]
  assert row['conflict/generic/0'] == 1.0 and row['conflict/generic/1'] == 0.0


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


@pytest.mark.parametrize('mode', composition.MODES)
def test_a_concept_against_itself_is_exactly_zero(mode):
  request = request_of(('happy', 0.7), ('happy', -0.7))
  row, cotangent = ask(dataclasses.replace(request, mode=mode))
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


def by_the_mode(request):
  """Returns [M, V, 3], each concept's weighted part as a mode changes it."""
  weights = np.array([term.weight for term in request.terms])
  parts = parts_by_hand(request)
  for view in range(gaussians.NUM_VIEWS):
    rows = parts[:, view]  # A view of the array: what changes, changes there.
    wanted = rows[weights > 0].sum(0)
    for index, weight in enumerate(weights):
      if request.mode == 'renorm':
        rows[index] *= abs(weight) / np.sqrt(np.mean(rows[index] ** 2))
      if request.mode == 'perp' and weight < 0:
        rows[index] -= wanted * (rows[index] @ wanted) / (wanted @ wanted)
  return parts


@pytest.mark.parametrize('mode', composition.MODES)
def test_every_mode_has_the_ledger_computed_by_hand(mode):
  asked = gaussians._request(WEIGHTS, RENDERS, 0)
  request = dataclasses.replace(asked, mode=mode)
  row, cotangent = ask(request)
  norms, cosines, shares = ledger_of(by_the_mode(request))
  for index in range(2):
    found = [
      row[f'{name}/generic/{index}']
      for name in ('cotangent_norm', 'cosine', 'share')
    ]
    np.testing.assert_allclose(
      found,
      (norms[index], cosines[index], shares[index]),
      rtol=1e-4,  # The networks compute in float32.
      atol=1e-6,
    )
  assert row['cotangent_norm/generic'] == pytest.approx(
    np.linalg.norm(cotangent)
  )
  assert shares.sum() == pytest.approx(1.0)


def test_in_perp_what_is_left_of_a_negative_takes_nothing_from_the_positive():
  request = gaussians._request(WEIGHTS, RENDERS, 0)
  row, cotangent = ask(dataclasses.replace(request, mode='perp'))
  positive = parts_by_hand(request)[0]
  inner = np.einsum('vhwc,vc->', cotangent, positive)
  # As if the positive were alone; the parts are the same in every pixel.
  alone = 2 * np.sum(positive**2) * gaussians.SIZE**2 / cotangent.size
  assert inner == pytest.approx(alone, rel=1e-4)
  assert row['share/generic/0'] > 0 and row['share/generic/1'] > 0


def scheduled(*concepts, template='{prompt}', mode='sum'):
  """Returns a run of (text, weight, schedule) concepts."""
  run = schema.RunConfig(
    num_steps=5,
    mode=mode,
    concepts=[
      schema.ConceptConfig(text, weight, schedule=schedule)
      for text, weight, schedule in concepts
    ],
  )
  run.priors = {'generic': schema.PriorConfig(prompt_template=template)}
  return run


def request_at(run, step):
  """Returns what a run asks its prior at a step."""
  asked = gaussians._request({'happy': 1.0}, RENDERS, step)
  requests = score_requests.requests_for(
    binding.bind_config(run),
    {'rgb': asked.images},
    ('',) * gaussians.NUM_VIEWS,
    step=step,
    seed=0,
    num_steps=run.num_steps,
    proxy_step=0,
    proxy_learning_rate=0.0,
    noise=run.noise,
    mode=run.mode,
  )
  request = requests['generic']
  terms = [dataclasses.replace(t, guidance_scale=1.0) for t in request.terms]
  return dataclasses.replace(request, terms=tuple(terms))


def test_a_ledger_of_schedules_is_the_one_computed_by_hand():
  run = scheduled(('happy', 1.5, 'linear(1, 0)'), ('sad', -0.5, ''))
  for step, weight in enumerate((1.5, 1.125, 0.75, 0.375, 0.0)):
    request = request_at(run, step)
    assert [term.weight for term in request.terms] == [weight, -0.5]
    row, _ = ask(request)
    names = [f'share/generic/{index}' for index in range(2)]
    shares = ledger_of(parts_by_hand(request))[2]
    np.testing.assert_allclose([row[n] for n in names], shares, rtol=1e-4)
  # In the last step it is not asked for any more.
  assert row['cotangent_norm/generic/0'] == row['share/generic/0'] == 0.0


@pytest.mark.parametrize('mode', composition.MODES)
def test_texts_that_are_one_prompt_are_one_concept_against_itself(mode):
  run = scheduled(
    ('a portrait of happy', 1.0, ''),
    ('happy', -1.0, ''),
    template='{target}',
    mode=mode,
  )
  row, cotangent = ask(request_at(run, 0))
  assert not cotangent.any()
  for name in ('cotangent_norm', 'cosine', 'share'):
    assert row[f'{name}/generic'] == 0.0


@pytest.mark.parametrize('mode', composition.MODES)
def test_schedules_that_meet_cancel_exactly_where_they_do(mode):
  run = scheduled(
    ('happy', 1.0, 'linear(1, 0)'), ('happy', -1.0, 'linear(0, 1)'), mode=mode
  )
  answers = [ask(request_at(run, step))[1] for step in range(5)]
  assert [bool(answer.any()) for answer in answers] == [1, 1, 0, 1, 1]
