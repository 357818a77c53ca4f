"""Priors of one process that are made of the same files have one model."""

import dataclasses
import gc
import pathlib
import shutil
import weakref

import numpy as np
import pytest

from mmdist.core import messages
from mmdist.priors import digest
from mmdist.priors import prior as priors
from tests.priors import tiny

TEXTS = ('a portrait of a happy man', 'a portrait of a sad woman')


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior'))


def request(step, seed):
  rng = np.random.default_rng([step, seed])
  return messages.ScoreRequest(
    step=step,
    images=rng.random((2, 16, 16, 3), dtype=np.float32),
    terms=tuple(
      messages.Term((f'{text} , front view',) * 2, text, weight, 4.0)
      for text, weight in zip(TEXTS, (1.0, -0.5), strict=True)
    ),
    noise_levels=rng.uniform(0.02, 0.8, 2).astype(np.float32),
    seed=seed,
    proxy_step=step,
    proxy_learning_rate=5e-3,
  )


def spec(directory, files='', **options):
  made = tiny.spec(str(directory))
  return dataclasses.replace(
    made, options=messages.copy_options(made.options, **options), files=files
  )


def take_step(prior, step, seed):
  return prior.score(request(step, seed)).cotangent, prior.fit()['proxy_loss']


@pytest.mark.parametrize(
  'options',
  [
    {},
    {'proxy_per': 'concept'},
    {'memory': messages.MemoryOptions(batched=True)},
    {'objective': 'sds'},
  ],
  ids=['plain', 'proxy per concept', 'batched', 'sds'],
)
def test_learners_that_share_a_model_have_the_bits_of_lone_ones(
  options, directory
):
  steps, seeds = range(2), (7, 8)
  alone = [priors.build(spec(directory, **options)) for _ in seeds]
  shared = [priors.build(spec(directory, 'same', **options)) for _ in seeds]
  assert len({id(prior.pipeline.denoiser) for prior in shared}) == 1
  assert len({id(prior.pipeline.denoiser) for prior in alone}) == 2
  for step in steps:
    for one, other, seed in zip(alone, shared, seeds, strict=True):
      for ours, theirs in zip(
        *(
          (prior.score(request(step, seed)).cotangent, prior.fit())
          for prior in (one, other)
        ),
        strict=True,
      ):
        if isinstance(ours, dict):
          ours, theirs = ours.get('proxy_loss'), theirs.get('proxy_loss')
        np.testing.assert_array_equal(ours, theirs)
    if step == 0:  # One comes and goes in the middle.
      extra = priors.build(spec(directory, 'same', **options))
      extra.score(request(0, 9))
      extra.fit()
      extra.close()
  for one, other in zip(alone, shared, strict=True):
    np.testing.assert_equal(
      dict(one.save_proxy().arrays), dict(other.save_proxy().arrays)
    )


def test_a_proxy_goes_from_a_shared_model_to_a_lone_one_and_back(directory):
  shared = [priors.build(spec(directory, 'same')) for _ in range(2)]
  for prior in shared:
    take_step(prior, 0, 3)
  alone = priors.build(spec(directory))
  alone.restore_proxy(shared[1].save_proxy())
  expected = take_step(shared[1], 1, 3)
  np.testing.assert_equal(take_step(alone, 1, 3), expected)


def test_the_model_is_gone_with_its_last_prior(directory):
  first, second = (priors.build(spec(directory, 'same')) for _ in range(2))
  model = weakref.ref(first.pipeline.denoiser)
  num_weights = sum(1 for _ in first.pipeline.denoiser.parameters())
  second.close()
  # What a learner added is gone with it; the model is there for the other.
  assert sum(1 for _ in first.pipeline.denoiser.parameters()) < num_weights
  del second
  first.close()
  del first
  gc.collect()
  assert model() is None


def test_other_settings_or_files_mean_another_model(directory):
  same = priors.build(spec(directory, 'same'))
  for other in (
    spec(directory, 'another'),
    spec(directory, 'same', dtype='bfloat16'),
    dataclasses.replace(spec(directory, 'same'), num_threads=2),
  ):
    assert priors.build(other).pipeline is not same.pipeline


def test_files_are_compared_wherever_they_lie(directory, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(directory, copy)

  def files(folder):
    return digest.files_digest(str(folder), digest.weight_digests(str(folder)))

  assert files(copy) == files(directory)
  # The weights are the same, what is done with them is not.
  path = copy / 'scheduler' / 'scheduler_config.json'
  path.write_text(path.read_text().replace('v_prediction', 'epsilon'))
  assert files(copy) != files(directory)
  assert pathlib.Path(directory).is_dir()
