import json
import math
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from mmdist.evaluation import clip
from tests.evaluation import tiny_clip

TEXTS = ['a man', 'a portrait of a happy woman, smiling', 'green']
# Float32 sums differ a little with where in memory they lie; half precision
# would be off by 1e-3.
ROUNDING = 1e-6


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  return tiny_clip.write_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def folder(original, tmp_path):
  """A copy to break."""
  return shutil.copytree(original, tmp_path / 'clip')


def pictures(count, size=24):
  return np.random.default_rng(0).uniform(size=(count, size, size, 3))


def edit(path, **changes):
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_cosines_are_those_of_transformers(original):
  images = pictures(4)
  cosines = clip.load(original).cosines(images, TEXTS)
  expected = tiny_clip.expected_cosines(original, images, TEXTS)
  assert cosines.shape == (4, 3)
  assert np.ptp(expected) > 0.1  # Or agreement would mean nothing.
  # A level of 8 bits here and there, see clip_images_test.
  np.testing.assert_allclose(cosines, expected, atol=2e-3)


def test_at_the_networks_own_size_they_are_the_same_numbers(original):
  images = pictures(4, tiny_clip.IMAGE_SIZE)
  cosines = clip.load(original).cosines(images, TEXTS)
  expected = tiny_clip.expected_cosines(original, images, TEXTS)
  # Float32; no picture is resized.
  np.testing.assert_allclose(cosines, expected, atol=1e-5)


def test_directions_have_length_one(original):
  model = clip.load(original)
  for vectors in model.embed_images(pictures(2)), model.embed_texts(TEXTS):
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)


def test_a_text_means_the_same_beside_longer_ones(original):
  model = clip.load(original)
  together = model.embed_texts(TEXTS)
  alone = np.concatenate([model.embed_texts([text]) for text in TEXTS])
  # Float32; longer texts pad the shorter ones.
  np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_long_text_is_cut(original):
  model = clip.load(original)
  long = 'a' + ' b' * tiny_clip.MAX_TOKENS
  kept = 'a' + ' b' * (tiny_clip.MAX_TOKENS - 3)  # With its two ends.
  cut, whole, shorter = model.embed_texts([long, kept, kept[:-2]])
  np.testing.assert_allclose(cut, whole, atol=ROUNDING)
  assert np.abs(cut - shorter).max() > 1e-3


def test_the_size_and_the_scale_are_the_models(original):
  model = clip.load(original)
  assert model.image_size == tiny_clip.IMAGE_SIZE
  assert model.scale == pytest.approx(math.exp(tiny_clip.LOGIT_SCALE))


def test_half_precision_files_are_computed_in_float32(folder):
  path = folder / 'model.safetensors'
  weights = safetensors.torch.load_file(path)
  found = []
  for dtype in ('float16', 'float32'):
    edit(folder / 'config.json', dtype=dtype)
    rounded = {
      name: weight.half().to(getattr(torch, dtype))
      for name, weight in weights.items()
    }
    safetensors.torch.save_file(rounded, path, {'format': 'pt'})
    found.append(clip.load(folder).cosines(pictures(1), TEXTS))
  np.testing.assert_allclose(*found, atol=ROUNDING)


def test_weights_may_be_in_several_files(original, tmp_path):
  sharded = tiny_clip.write_clip(tmp_path / 'clip', max_shard_size='10KB')
  assert (sharded / 'model.safetensors.index.json').is_file()
  expected = clip.load(original).embed_texts(TEXTS)
  np.testing.assert_allclose(
    clip.load(sharded).embed_texts(TEXTS), expected, atol=ROUNDING
  )
  sorted(sharded.glob('model-*'))[1].unlink()
  with pytest.raises(
    FileNotFoundError, match=r'model-00002-of.* is missing; a'
  ):
    clip.load(sharded)


def test_image_settings_may_be_in_the_processors_file(original, folder):
  own = folder / 'preprocessor_config.json'
  content = {'image_processor': json.loads(own.read_text())}
  own.unlink()
  (folder / 'processor_config.json').write_text(json.dumps(content))
  np.testing.assert_allclose(
    clip.load(folder).embed_images(pictures(1)),
    clip.load(original).embed_images(pictures(1)),
    atol=ROUNDING,
  )


def test_code_in_a_directory_is_never_run(folder, tmp_path):
  mark = tmp_path / 'was_run'
  (folder / 'evil.py').write_text(f"open('{mark}', 'w')")
  classes = {'AutoModel': 'evil.A', 'AutoTokenizer': ['evil.A', None]}
  for name in ('config.json', 'tokenizer_config.json'):
    edit(folder / name, auto_map=classes)
  try:
    clip.load(folder)
  except ValueError:
    pass
  assert not mark.exists()


def test_a_name_of_a_hub_is_answered_with_how_to_fetch_it():
  with pytest.raises(FileNotFoundError, match='no directory.*hf download OWNE'):
    clip.load('openai/clip-vit-base-patch32')


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('config.json', r'config.json is missing; a CLIP directory is what save_'),
    ('model.safetensors', r'model.safetensors is missing; a CLIP directory'),
    ('preprocessor_config.json', r'preprocessor_config.json is missing; a CL'),
    ('vocab.json', 'has no tokenizer.json, nor vocab.json and merges.txt'),
  ],
)
def test_a_missing_file_is_named(folder, name, words):
  (folder / name).unlink()
  with pytest.raises(FileNotFoundError, match=words):
    clip.load(folder)


def test_pickled_weights_are_refused(folder):
  weights = folder / 'model.safetensors'
  torch.save(safetensors.torch.load_file(weights), folder / 'pytorch_model.bin')
  weights.unlink()
  with pytest.raises(
    ValueError, match='pytorch_model.bin is pickled and could'
  ):
    clip.load(folder)


def test_weights_that_were_cut_short_are_refused(folder):
  path = folder / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ValueError, match=r'model.safetensors is corrupt \('):
    clip.load(folder)


def test_weights_of_another_model_are_refused(folder):
  path = folder / 'model.safetensors'
  weights = safetensors.torch.load_file(path)
  del weights['visual_projection.weight']
  safetensors.torch.save_file(weights, path, {'format': 'pt'})
  with pytest.raises(ValueError, match='lacks 1 weights, visual_projection.we'):
    clip.load(folder)


def test_weights_of_another_size_are_refused(folder):
  edit(folder / 'config.json', projection_dim=12)
  with pytest.raises(ValueError, match='does not fit CLIPModel'):
    clip.load(folder)


def test_a_directory_of_another_library_is_refused(folder):
  (folder / 'model_index.json').write_text('{}')
  with pytest.raises(ValueError, match='model_index.json declares a diffusers'):
    clip.load(folder)


@pytest.mark.parametrize('kind', ['siglip', 'clip_text_model', None])
def test_another_model_of_transformers_is_refused(folder, kind):
  edit(folder / 'config.json', model_type=kind)
  words = f"declares '{kind or 'no model_type'}', which is not a CLIPModel"
  with pytest.raises(ValueError, match=words):
    clip.load(folder)


@pytest.mark.parametrize(
  ('name', 'content', 'words'),
  [
    ('config.json', '{', 'config.json is corrupt: '),
    ('config.json', '[]', 'config.json is corrupt: it holds no JSON object'),
    ('preprocessor_config.json', '{"resample": 7}', 'is not of a CLIP .* is 7'),
    ('vocab.json', '{', 'the tokenizer in .* cannot be opened'),
  ],
)
def test_a_corrupt_file_is_named(folder, name, content, words):
  (folder / name).write_text(content)
  with pytest.raises(ValueError, match=words):
    clip.load(folder)


def test_image_settings_of_another_model_are_refused(folder):
  edit(folder / 'preprocessor_config.json', size=20, crop_size=20)
  with pytest.raises(ValueError, match=r'of \(20, 20\) pixels, .* reads 16'):
    clip.load(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
  path = folder / 'vocab.json'
  edit(path, **{f'more{i}': 56 + i for i in range(20)})
  with pytest.raises(ValueError, match='knows 76 tokens, its network 64'):
    clip.load(folder)
