"""Latents are shifted and scaled as the VAE's config says, both ways."""

import json

import pytest
import torch

from mmdist.priors import families
from mmdist.priors import image_codec
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny_families

MEAN, STD = [-1.6, 1.9, -1.4, 2.5], [8.5, 5.9, 6.5, 5.2]


@pytest.fixture(scope='module', name='source')
def fixture_source(tmp_path_factory):
  return tiny_families.write('sdxl', tmp_path_factory.mktemp('vae') / 'sdxl')


@pytest.fixture(name='opened_with')
def fixture_opened_with(source):
  """Opens the directory with other fields in vae/config.json."""
  path = source / 'vae' / 'config.json'
  before = path.read_text()

  def open_with(dtype='float32', **fields):
    path.write_text(json.dumps(json.loads(before) | fields))
    return pipelines.open_pipeline(source, dtype, 'cpu').codec

  yield open_with
  path.write_text(before)


def _column(numbers):
  return torch.tensor(numbers).view(1, -1, 1, 1)


@pytest.mark.parametrize(
  'fields, mean, scale',
  [
    ({'scaling_factor': 0.13}, [0.0], [0.13]),
    ({'scaling_factor': 1.5305, 'shift_factor': 0.0609}, [0.0609], [1.5305]),
    (
      {'scaling_factor': 0.5, 'latents_mean': MEAN, 'latents_std': STD},
      MEAN,
      [0.5 / std for std in STD],
    ),
  ],
)
@torch.no_grad()
def test_latents_are_those_that_the_config_says(
  opened_with, fields, mean, scale
):
  codec = opened_with(**fields)
  pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
  raw = codec.vae.encode(pixels).latent_dist.mean
  expected = (raw - _column(mean)) * _column(scale)
  torch.testing.assert_close(codec.encode(pixels), expected)
  # diffusers' pipelines decode latents / scaling_factor, shifted back.
  theirs = codec.vae.decode(raw).sample
  torch.testing.assert_close(
    codec.decode(expected), theirs, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'latents_mean': MEAN}, 'latents_mean.*and latents_std, or neither'),
    ({'latents_std': STD}, 'latents_std.*and latents_std, or neither'),
    ({'latents_mean': MEAN[:3], 'latents_std': STD}, 'latents_mean.*list of 4'),
    (
      {'latents_mean': [[m] for m in MEAN], 'latents_std': STD},
      'latents_mean.*list of 4',
    ),
    ({'latents_mean': MEAN, 'latents_std': 2.0}, 'latents_std.*list of 4'),
    ({'latents_mean': MEAN, 'latents_std': [1, 1, 0, 1]}, 'above 0'),
    (
      {'latents_mean': MEAN, 'latents_std': STD, 'shift_factor': 0.1},
      'shift_factor=0.1; expected none beside latents_mean',
    ),
    ({'shift_factor': [0.1]}, 'shift_factor.*one number'),
    ({'scaling_factor': None}, 'scaling_factor=None; expected one number'),
    ({'scaling_factor': 0}, 'scaling_factor=0; expected one number'),
  ],
)
def test_what_does_not_fit_is_refused_by_name(
  source, opened_with, fields, words
):
  with pytest.raises(ValueError, match=words) as caught:
    opened_with(**fields)
  assert str(source / 'vae' / 'config.json') in str(caught.value)
  with pytest.raises(ValueError, match=words):
    families.read_family(source)  # Before any weight is read.


@pytest.mark.parametrize(
  'dtype, fields, expected',
  [
    ('float32', {}, torch.float32),
    ('float16', {}, torch.float32),
    ('float16', {'force_upcast': False}, torch.float32),
    ('bfloat16', {'force_upcast': True}, torch.float32),
    ('bfloat16', {'force_upcast': False}, torch.bfloat16),
  ],
)
def test_a_vae_that_has_to_be_upcast_is(opened_with, dtype, fields, expected):
  assert opened_with(dtype, **fields).vae.dtype == expected


def test_a_vae_that_says_nothing_computes_in_bfloat16():
  # The class's own default is True, of which most VAEs' files say nothing.
  assert image_codec.vae_dtype({}, torch.bfloat16) == torch.bfloat16
