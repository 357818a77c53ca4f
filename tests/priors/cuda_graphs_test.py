"""Recorded passes without a GPU: a stand-in is played from its own inputs."""

import numpy as np
import pytest
import torch

from mmdist.core import messages
from mmdist.priors import cuda_graphs
from mmdist.priors import denoisers
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from tests.priors import tiny
from tests.priors import tiny_families


class Played:
  """What a recording is without a GPU: it reads nothing but its own inputs."""

  made: list[int] = []

  def __init__(self, function, inputs):
    self._function = function
    self._inputs = [None if one is None else one.clone() for one in inputs]
    Played.made.append(len(inputs))

  def play(self, inputs):
    for place, value in zip(self._inputs, inputs, strict=True):
      if place is not None:
        place.copy_(value)
    return [one.clone() for one in self._function(*self._inputs)]


def make_request(step: int, num_views: int = 2) -> messages.ScoreRequest:
  rng = np.random.default_rng(step)
  texts = ('a portrait of a happy man', 'a portrait of a sad woman')
  return messages.ScoreRequest(
    step=step,
    images=rng.random((num_views, 16, 16, 3), dtype=np.float32),
    terms=tuple(
      messages.Term((text,) * num_views, text, weight, 4.0)
      for text, weight in zip(texts, (1.0, -0.5), strict=True)
    ),
    noise_levels=rng.uniform(0.1, 0.8, num_views).astype(np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=5e-3,
  )


@pytest.fixture(name='as_on_a_gpu')
def fixture_as_on_a_gpu(monkeypatch):
  """Has passes recorded by a stand-in, and CUDA not asked for."""
  make = cuda_graphs.Recordings
  monkeypatch.setattr(cuda_graphs, 'Recordings', lambda: make(Played))
  monkeypatch.setattr(
    pipelines,
    '_recordings',
    lambda memory, _: cuda_graphs.Recordings() if memory.cuda_graphs else None,
  )
  Played.made = []


@pytest.mark.parametrize('family', ['sd1', 'sdxl', 'sd3'])
@pytest.mark.parametrize('proxy_per', ['prior', 'concept'])
def test_what_is_played_is_what_is_computed(
  family, proxy_per, as_on_a_gpu, tmp_path
):
  """Steps, a fit each, a proxy that goes back, and another number of views."""
  directory = tiny_families.write(family, tmp_path)
  plain, recorded = (
    priors.build(
      tiny.spec(
        directory,
        device='cpu',
        dtype='float32',
        proxy_per=proxy_per,
        memory=messages.MemoryOptions(cuda_graphs=on),
      )
    )
    for on in (False, True)
  )
  saved = None
  for step in (0, 1, 2, 1, 2):
    if step == 1 and saved is None:
      saved = [prior.save_proxy() for prior in (plain, recorded)]
    elif step == 1:
      for prior, state in zip((plain, recorded), saved, strict=True):
        prior.restore_proxy(state)
    request = make_request(step)
    expected, found = plain.score(request), recorded.score(request)
    np.testing.assert_array_equal(found.cotangent, expected.cotangent)
    assert recorded.fit()['proxy_loss'] == plain.fit()['proxy_loss']
  # The base once; and of each proxy its prediction and its fit.
  num_proxies = 2 if proxy_per == 'concept' else 1
  assert len(Played.made) == 1 + 2 * num_proxies
  request = make_request(3, num_views=3)
  np.testing.assert_array_equal(
    recorded.score(request).cotangent, plain.score(request).cotangent
  )


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'batched': True}, 'memory.batched are both on'),
    ({}, 'the prior is on cpu; expected a CUDA device'),
  ],
)
def test_what_cannot_be_recorded_is_refused(changes, said, tmp_path):
  directory = tiny_families.write('sd1', tmp_path)
  memory = messages.MemoryOptions(cuda_graphs=True, **changes)
  with pytest.raises(ValueError, match=said):
    pipelines.open_pipeline(directory, device='cpu', memory=memory)


def test_size_conditions_are_made_where_they_are_wanted():
  like = torch.zeros(3, 4, 8, 8, dtype=torch.bfloat16)
  sizes = denoisers.size_conditions(64, like)
  assert sizes.dtype == torch.bfloat16
  assert sizes.tolist() == [[64, 64, 0, 0, 64, 64]] * 3
