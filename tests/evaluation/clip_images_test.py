import numpy as np
import pytest

from mmdist.evaluation import clip_images
from tests.evaluation import tiny_clip

# Of the processor's resizing, torch's differs where a half is rounded the
# other way; a pass along each axis can do that once.
LEVELS = 2
SHARE_OF_EQUAL = 0.98


def settings_of(processor):
  return clip_images.read_settings(processor.to_dict())


def random_picture(height, width):
  """Noise over a gradient, in whole levels."""
  rng = np.random.default_rng(0)
  ramp = np.linspace(0, 1, width)[None, :, None]
  noise = rng.uniform(size=(height, width, 3))
  return np.round(255 * (ramp + noise) / 2) / 255


@pytest.mark.parametrize(
  ('shape', 'changes'),
  [
    ((24, 24), {}),
    ((8, 8), {}),
    ((40, 26), {}),
    ((26, 41), {'size': {'shortest_edge': 20}}),
    ((41, 26), {'size': {'shortest_edge': 19}}),
    ((24, 31), {'size': {'height': 20, 'width': 18}}),
    ((24, 24), {'resample': 2}),
    ((24, 24), {'do_center_crop': False, 'do_normalize': False}),
    ((24, 24), {'do_rescale': False}),
    ((24, 24), {'image_mean': [0.5] * 3, 'image_std': [0.1, 0.2, 0.3]}),
  ],
)
def test_pictures_are_made_as_transformers_processor_makes_them(shape, changes):
  processor = tiny_clip.processor(**changes)
  image = random_picture(*shape)
  levels = np.uint8(np.round(255 * image))
  expected = processor(images=levels, return_tensors='np')['pixel_values']
  made = clip_images.preprocess(image[None], settings_of(processor)).numpy()
  assert made.shape == expected.shape and made.dtype == np.float32
  scale = processor.rescale_factor if processor.do_rescale else 1
  std = processor.image_std if processor.do_normalize else (1, 1, 1)
  level = scale / np.reshape(std, (3, 1, 1))
  apart = np.abs(made - expected) / level
  assert apart.max() < LEVELS + 0.01
  assert np.mean(apart < 0.01) > SHARE_OF_EQUAL


def test_a_picture_of_the_right_size_is_only_normalised():
  image = random_picture(tiny_clip.IMAGE_SIZE, tiny_clip.IMAGE_SIZE)
  processor = tiny_clip.processor()
  made = clip_images.preprocess(image[None], settings_of(processor))[0]
  expected = (image - processor.image_mean) / processor.image_std
  # Float32.
  np.testing.assert_allclose(made.permute(1, 2, 0), expected, atol=1e-5)


def test_colours_out_of_range_are_cut_off():
  image = np.array([-0.5, 0.5, 1.5]) * np.ones((1, 16, 16, 1))
  cut = np.clip(image, 0, 1)
  settings = settings_of(tiny_clip.processor())
  made, expected = (
    clip_images.preprocess(pictures, settings) for pictures in (image, cut)
  )
  assert made.equal(expected)


def test_what_a_file_leaves_out_is_as_in_transformers():
  processor = type(tiny_clip.processor())()
  assert clip_images.read_settings({}) == settings_of(processor)


def test_sizes_of_old_files_are_whole_numbers():
  settings = clip_images.read_settings({'size': 20, 'crop_size': 16})
  assert (settings.size, settings.crop) == (20, (16, 16))


@pytest.mark.parametrize(
  ('config', 'words'),
  [
    ({'resample': 0}, r'resample is 0; expected 3 \(bicubic\)'),
    ({'do_resize': False}, 'do_resize is false; expected a size'),
    ({'size': {'longest_edge': 9}}, "size is {'longest_edge': 9}; expected 's"),
    ({'size': 'big'}, 'size is big; expected'),
    ({'crop_size': -1}, 'crop_size is -1; expected'),
    ({'size': 16, 'crop_size': 20}, r'crop_size \(20, 20\) is more than size'),
    ({'image_mean': [0.5]}, r'image_mean is \[0.5\]; expected a number per ch'),
    ({'image_std': [1, 0, 1]}, 'image_std is .* expected a number per channel'),
  ],
)
def test_settings_without_a_meaning_are_refused(config, words):
  with pytest.raises(ValueError, match=words):
    clip_images.read_settings(config)


def test_a_picture_without_colours_is_refused():
  settings = clip_images.read_settings({})
  with pytest.raises(ValueError, match=r'images has shape .* \[N, H, W, 3\]'):
    clip_images.preprocess(np.zeros((1, 16, 16)), settings)
