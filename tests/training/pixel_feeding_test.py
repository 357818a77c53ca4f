"""Where the pictures of a pretraining lie."""

import dataclasses
from unittest import mock

import jax
import numpy as np
import pytest

from mmdist.core import device_mesh
from mmdist.learner import pretrain
from mmdist.training import pixel_feeding
from tests.data import pixel_stream_test

GIB = 2**30


def place(pixels, platform='cpu', limit=0):
  """Returns what is placed on a device of so many bytes, and its stream."""
  pictures = pixel_stream_test.numbered_set()
  config = pretrain.PretrainConfig(pixels=pixels, batch_size=8)
  layout = device_mesh.local_layout(1)
  device = mock.Mock(memory_stats=lambda: {'bytes_limit': limit})
  with (
    mock.patch.object(jax, 'local_devices', lambda: [device]),
    mock.patch.object(device_mesh.Layout, 'platform', platform),
  ):
    placed = pixel_feeding.place_pictures(config, pictures, layout)
  return placed, pictures


@pytest.mark.parametrize(
  'pixels, platform, limit, is_placed',
  [
    ('auto', 'cpu', 0, False),
    ('auto', 'gpu', GIB, True),
    ('auto', 'gpu', 500, False),  # The pictures have 384 bytes.
    ('host', 'gpu', GIB, False),
    ('device', 'cpu', 0, True),
    ('device', 'gpu', GIB, True),
  ],
)
def test_pictures_lie_on_a_gpu_that_has_room(
  pixels, platform, limit, is_placed
):
  placed, pictures = place(pixels, platform, limit)
  assert (placed is not None) == is_placed
  if is_placed:
    np.testing.assert_array_equal(placed.images, pictures.images)


def test_pictures_without_room_are_refused_where_they_are_asked_for():
  with pytest.raises(ValueError, match='^pixels is device, and .* of the devi'):
    place('device', 'gpu', 500)


def test_a_stream_brings_what_the_step_reads():
  pictures = pixel_stream_test.numbered_set()
  config = dataclasses.replace(pretrain.PretrainConfig(), batch_size=8)
  batch = next(pixel_feeding.make_stream(config, pictures))
  draws = next(pixel_feeding.make_stream(config, pictures, draws_only=True))
  assert batch.rgba.shape == (8, 4)
  np.testing.assert_array_equal(batch.subject, draws.subject)
  sizes = [
    sum(leaf.nbytes for leaf in jax.tree.leaves(one)) for one in (draws, batch)
  ]
  assert sizes == [8 * 20, 8 * 92]
