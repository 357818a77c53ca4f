"""Each kind of guidance against its formula, written out text by text."""

import dataclasses

import numpy as np
import pytest
import torch

from mmdist.core import composition
from mmdist.core import errors
from mmdist.core import guidance_kinds as kinds
from mmdist.core import messages
from mmdist.priors import guidance_points
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import proxy as proxies
from mmdist.priors import score as scores
from tests.priors import guidance_oracle as oracle
from tests.priors import tiny
from tests.priors import tiny_families

# One predicts the noise, one v, one a flow.
FAMILIES = ('sd1', 'sd2', 'sd3')


@pytest.fixture(name='pipeline', scope='module', params=FAMILIES)
def fixture_pipeline(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp(request.param)
  return pipelines.open_pipeline(
    tiny_families.write(request.param, directory), device='cpu'
  )


def make_choice(kind: str, **changes) -> guidance_points.Choice:
  return guidance_points.Choice(
    kind, inversion_guidance_scale=oracle.INVERSION_SCALE, **changes
  )


@pytest.mark.parametrize(
  'kind, noising',
  [
    *((kind, '') for kind in kinds.KINDS if kind != 'vsd'),
    ('sds', 'inverted'),
    ('csd', 'inverted'),
  ],
)
def test_a_kind_is_its_formula_in_every_mode(pipeline, kind, noising):
  choice = make_choice(kind, noising=noising)
  pulls = oracle.pulls_of(pipeline, oracle.make_request(), kind, noising)
  for mode in composition.MODES:
    request = oracle.make_request(mode=mode)
    expected = oracle.cotangent_of(pipeline, request, pulls)
    answer = scores.score(pipeline, None, request, choice=choice)
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(answer.cotangent, expected, atol=3e-5 * size)


def test_the_first_stage_of_bridge_is_sds_and_has_no_negative_text(pipeline):
  choice = guidance_points.Choice('bridge', first_stage=0.7)
  asked = oracle.make_request()
  plain = [dataclasses.replace(t, negative_prompt='') for t in asked.terms]
  expected = scores.score(
    pipeline, None, dataclasses.replace(asked, terms=tuple(plain))
  )
  answer = scores.score(pipeline, None, asked, choice=choice)
  np.testing.assert_array_equal(answer.cotangent, expected.cotangent)


@pytest.mark.parametrize('kind', ['sds', 'csd'])
def test_a_normalised_pull_is_divided_by_its_views_distance(pipeline, kind):
  request = oracle.make_request()
  terms = []
  for term in request.terms:
    alone = dataclasses.replace(request, terms=(term,))
    pulls = oracle.pulls_of(pipeline, alone, kind)
    distances = []
    for view in range(len(oracle.T)):
      one = oracle.Oracle(pipeline, request, view)
      with torch.no_grad():
        x0 = one.clean_estimate(kind, term)
      distances.append(float((one.x - x0).abs().mean()))
    terms.append(pulls[0] / torch.tensor(distances)[:, None, None, None])
  expected = oracle.cotangent_of(pipeline, request, torch.stack(terms))
  choice = make_choice(kind, normalise=True)
  answer = scores.score(pipeline, None, request, choice=choice)
  size = np.abs(expected).max()
  np.testing.assert_allclose(answer.cotangent, expected, atol=1e-4 * size)


@pytest.mark.parametrize(
  'kind, scale, passes',
  [
    # Rows of V texts in each pass of the network, for one concept.
    ('sds', 4.0, [2]),
    ('sds', 1.0, [1]),
    ('csd', 4.0, [3]),
    ('csd', 1.0, [3]),
    ('nfsd', 4.0, [3]),
    ('asd', 4.0, [3]),
    ('asd', 1.0, [2]),
    ('bridge', 4.0, [3]),
    ('ism', 4.0, [1] * 6 + [2]),
    ('sdi', 4.0, [2] * 11),
    ('dds', 4.0, [4]),
    ('dds', 1.0, [2]),
  ],
)
def test_passes_are_as_many_as_the_kind_needs(
  pipeline, monkeypatch, kind, scale, passes
):
  seen, predict = [], pipelines.predict

  def counted(pipeline, noisy, *rest):
    seen.append(len(noisy) // len(oracle.T))
    return predict(pipeline, noisy, *rest)

  monkeypatch.setattr(pipelines, 'predict', counted)
  term = dataclasses.replace(
    oracle.make_request().terms[0], guidance_scale=scale
  )
  request = oracle.make_request(terms=(term,))
  scores.score(pipeline, None, request, choice=make_choice(kind))
  assert seen == passes
  # What the estimate of memory counts with.
  assert max(passes) <= kinds.KINDS[kind].rows(1) + 1


def test_nfsd_asks_nothing_negative_of_views_with_little_noise(
  pipeline, monkeypatch
):
  seen, encode = [], type(pipeline.text).encode

  def noted(encoder, texts):
    seen.extend(texts)
    return encode(encoder, texts)

  monkeypatch.setattr(type(pipeline.text), 'encode', noted)
  for levels, count in (([0.1, 0.19], 0), ([0.1, 0.6], 1)):
    seen.clear()
    request = oracle.make_request(noise_levels=np.float32(levels))
    scores.score(pipeline, None, request, choice=guidance_points.Choice('nfsd'))
    assert seen.count(oracle.BAD) == count


@pytest.mark.parametrize('kind', [k for k in kinds.KINDS if k != 'vsd'])
def test_a_step_in_parts_asks_the_same(pipeline, kind):
  whole, choice = oracle.make_request(), make_choice(kind)
  expected = scores.score(pipeline, None, whole, choice=choice).cotangent
  parts = []
  for view in range(len(oracle.T)):
    rows = slice(view, view + 1)
    part = dataclasses.replace(
      whole,
      images=whole.images[rows],
      start_images=whole.start_images[rows],
      noise_levels=oracle.T[rows],
      terms=tuple(
        dataclasses.replace(term, prompts=term.prompts[rows])
        for term in whole.terms
      ),
      first_view=view,
      num_views=len(oracle.T),
    )
    answer = scores.score(pipeline, None, part, choice=choice)
    parts.append(answer.cotangent / len(oracle.T))
  size = np.abs(expected).max()
  np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-4 * size)


def test_a_negative_text_takes_the_empty_ones_place_in_vsd(pipeline):
  proxy = proxies.Proxy(pipeline.denoiser)
  try:
    # A proxy at its start is the base, so its terms are known.
    request = oracle.make_request()
    answer = scores.score(pipeline, proxy, request).cotangent
  finally:
    proxy.remove()
  pulls = []
  for term in request.terms:
    views = []
    for view in range(len(oracle.T)):
      one = oracle.Oracle(pipeline, request, view)
      x_t, t = one.noised(one.x, one.t), one.t
      with torch.no_grad():
        views.append(
          one.guided(
            x_t, t, term.prompts[view], oracle.BAD, term.guidance_scale
          )
          - one.eps(x_t, t, term.plain_prompt)
        )
    pulls.append(torch.cat(views))
  expected = oracle.cotangent_of(pipeline, request, torch.stack(pulls))
  size = np.abs(expected).max()
  np.testing.assert_allclose(answer, expected, atol=3e-5 * size)


def test_the_scale_of_sdi_is_that_of_its_published_code():
  """Which writes cond + s (cond - uncond) and has s = -7.5."""
  cond, uncond = 0.3, 0.8
  s = messages.PriorOptions().inversion_guidance_scale
  assert uncond + s * (cond - uncond) == pytest.approx(
    cond - 7.5 * (cond - uncond)
  )


@pytest.mark.parametrize('kind', kinds.KINDS)
def test_a_prior_answers_again_with_the_same_bits(tmp_path, kind):
  directory = tiny.write_pipeline(tmp_path)
  answers = []
  for _ in range(2):
    prior = priors.build(tiny.spec(directory, objective=kind))
    answers.append(prior.score(oracle.make_request()).cotangent)
    prior.fit()
    state = prior.save_proxy()
    assert bool(state.arrays) == (kind == 'vsd')
    prior.restore_proxy(state)
    request = oracle.make_request(step=4, proxy_step=1)
    answers.append(prior.score(request).cotangent)
  np.testing.assert_array_equal(answers[0], answers[2])
  np.testing.assert_array_equal(answers[1], answers[3])
  # Noise is drawn anew at every step, where there is any.
  is_random = kinds.KINDS[kind].noising == kinds.RANDOM
  assert bool(np.abs(answers[0] - answers[1]).max()) == is_random


def test_dds_without_the_start_says_what_is_missing(pipeline):
  with pytest.raises(errors.UserError, match='start_images'):
    scores.score(
      pipeline,
      None,
      oracle.make_request(start_images=None),
      choice=guidance_points.Choice('dds'),
    )
