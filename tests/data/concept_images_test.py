"""Batches of a concept: fair, coloured right, and resumable exactly."""

import itertools

import numpy as np
import pytest

from mmdist.data import concept_images


def make_set(count=5, first=0, alpha=255) -> concept_images.ConceptSet:
  """Pictures that are told apart by their red."""
  rgba = np.zeros((count, 4, 4, 4), np.uint8)
  rgba[..., 0] = 10 * (first + np.arange(count))[:, None, None]
  rgba[..., 3] = alpha
  prompts = tuple(f'picture {first + i}' for i in range(count))
  return concept_images.ConceptSet(rgba, prompts)


def make_stream(concept=None, batch_size=2, seed=0, **kwargs):
  return concept_images.ConceptStream(
    concept or make_set(), batch_size, seed, **kwargs
  )


def numbers_of(batch) -> list[int]:
  images, prompts = batch
  for image, prompt in zip(images, prompts, strict=True):
    number = int(prompt.split()[1])
    np.testing.assert_allclose(image[..., 0], 10 * number / 255, atol=1e-6)
  return [int(prompt.split()[1]) for prompt in prompts]


def test_every_picture_comes_once_before_any_comes_twice():
  stream = make_stream()
  drawn = [
    n for batch in itertools.islice(stream, 10) for n in numbers_of(batch)
  ]
  turns = [drawn[i : i + 5] for i in range(0, 20, 5)]
  assert all(sorted(turn) == list(range(5)) for turn in turns)
  assert len({tuple(turn) for turn in turns}) > 1  # In another order.


def test_images_are_float_and_greys_fill_what_is_not_opaque():
  stream = make_stream(make_set(alpha=0), background=(0.4, 0.6))
  images, _ = next(stream)
  assert images.dtype == np.float32 and images.shape == (2, 4, 4, 3)
  assert np.all((images >= 0.4) & (images <= 0.6))
  assert images[0, 0, 0, 0] != images[1, 0, 0, 0]
  assert np.ptp(images[0]) < 1e-6


def test_the_class_follows_the_concept_in_every_batch():
  stream = make_stream(of_class=make_set(3, first=20))
  for batch in itertools.islice(stream, 6):
    numbers = numbers_of(batch)
    assert [n >= 20 for n in numbers] == [False, False, True, True]


def test_a_restored_stream_goes_on_exactly():
  first = make_stream()
  for _ in range(3):
    next(first)
  state = first.get_state()
  expected = [next(first) for _ in range(4)]
  second = make_stream()
  second.set_state(state)
  for images, prompts in expected:
    again = next(second)
    np.testing.assert_array_equal(again[0], images)
    assert again[1] == prompts


@pytest.mark.parametrize(
  'other',
  [
    {'seed': 1},
    {'batch_size': 3},
    {'concept': make_set(4)},
    {'background': (0.0, 1.0)},
    {'of_class': make_set(3)},
  ],
)
def test_a_state_of_another_stream_is_refused(other):
  state = make_stream().get_state()
  with pytest.raises(ValueError, match='made from other pictures'):
    make_stream(**other).set_state(state)


def test_no_pictures_are_refused():
  with pytest.raises(ValueError, match='no pictures'):
    concept_images.ConceptSet(np.zeros((0, 4, 4, 4), np.uint8), ())
