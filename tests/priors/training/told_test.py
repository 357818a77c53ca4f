"""What words tell siblings apart by, on networks whose answers are known."""

import numpy as np
import pytest
import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors.training import guesses
from mmdist.priors.training import told
from tests.priors import tiny

TEXTS = [
  ['a man', 'a woman', 'a portrait of a man'],
  ['a portrait of a woman', 'a happy man', 'a happy woman'],
]


@pytest.fixture(name='pipeline', scope='module')
def fixture_pipeline(tmp_path_factory):
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('told'))
  return pipelines.open_pipeline(directory, 'float32', 'cpu')


@pytest.fixture(name='images')
def fixture_images():
  rng = np.random.default_rng(0)
  return rng.random((2, 3, 16, 16, 3), dtype=np.float32)


@pytest.mark.parametrize('share', [0.0, 0.25, 1.0])
def test_what_a_text_brings_about_is_its_share(
  pipeline, images, monkeypatch, share
):
  flat = torch.from_numpy(np.concatenate(images))
  latents = pipelines.encode_images(pipeline, flat)
  of_text = dict(zip((t for row in TEXTS for t in row), latents, strict=True))
  seen = []

  def guess(pipeline, clean, noise, texts, t):
    seen.append((noise, t))
    answers = torch.stack([of_text[text] for text in texts])
    # What the noisy picture shows by itself is the same under any text.
    return share * answers + 0.3 * clean

  monkeypatch.setattr(guesses, 'guess', guess)
  found = told.told(pipeline, images, TEXTS, (500, 900))
  assert found == pytest.approx([share, share], abs=1e-5)
  assert [t for _, t in seen] == [0.5, 0.5, 0.9, 0.9]
  noise = seen[0][0].unflatten(0, (2, 3))
  assert (noise == noise[:, :1]).all()  # A family shares its noise.
  assert (noise[0] != noise[1]).any()


def test_a_prior_of_random_weights_makes_little_of_words(pipeline, images):
  first, second = (told.told(pipeline, images, TEXTS) for _ in range(2))
  assert first == second and len(first) == len(told.LEVELS)
  assert np.abs(first).max() < 0.05


def test_every_family_has_a_row_of_texts(pipeline, images):
  with pytest.raises(ValueError, match='images'):
    told.told(pipeline, images, TEXTS[:1])
