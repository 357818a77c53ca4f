"""Directories of transformers that are no priors, each told in one line."""

import json
import shutil

import pytest

from mmdist.core import messages
from mmdist.priors import checks
from mmdist.priors import families
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny_families

FAMILIES = ('auraflow', 'sana', 'z_image', 'qwen_image')


@pytest.fixture(scope='module', name='directories')
def fixture_directories(tmp_path_factory):
  folder = tmp_path_factory.mktemp('refusals')
  return {
    family: tiny_families.write(family, folder / family) for family in FAMILIES
  }


def change(path, **fields):
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize('file, fields, words', [
  ('transformer/config.json', {'guidance_embeds': True}, 'guidance_embeds=Tr'),
  ('vae/config.json', {'_class_name': 'AutoencoderKLWan'}, 'KLWan; expected'),
  ('vae/config.json', {'latent_channels': 8}, 'takes 4 channels, the image'),
  ('vae/config.json', {'scaling_factor': 0}, 'scaling_factor=0; expected one'),
  (
    'scheduler/scheduler_config.json',
    {'_class_name': 'SCMScheduler'},
    "SCMScheduler with prediction_type 'flow_prediction' is not supported",
  ),
  (
    'scheduler/scheduler_config.json',
    {'use_dynamic_shifting': True},
    'which is not supported; expected a constant flow_shift',
  ),
  (
    'text_encoder/config.json',
    {'architectures': ['Gemma3Model']},
    'declares Gemma3Model; expected one of',
  ),
])  # fmt: skip
def test_what_a_sana_cannot_be_is_refused(
  directories, tmp_path, file, fields, words
):
  directory = shutil.copytree(directories['sana'], tmp_path / 'other')
  change(directory / file, **fields)
  with pytest.raises(ValueError) as caught:
    checks.check_prior(directory, ['a man'])
  assert words in str(caught.value) and '\n' not in str(caught.value)


def test_an_image_that_an_auraflow_has_no_places_for_is_refused(
  directories, tmp_path
):
  directory = shutil.copytree(directories['auraflow'], tmp_path / 'large')
  (directory / 'mmdist.json').write_text(json.dumps({'image_size': 32}))
  with pytest.raises(ValueError, match='has places for 8 latents .* have 16;'):
    families.read_family(directory)


@pytest.mark.parametrize('family, file, fields, words', [
  ('z_image', 'transformer', {'siglip_feat_dim': 8}, 'siglip_feat_dim=8'),
  ('z_image', 'transformer', {'all_patch_size': [4]}, 'all_patch_size=[4]'),
  ('qwen_image', 'transformer', {'guidance_embeds': True}, 'guidance_embeds='),
  ('qwen_image', 'transformer', {'zero_cond_t': True}, 'zero_cond_t=True'),
  ('qwen_image', 'transformer', {'in_channels': 32}, 'takes 8 channels, the'),
  ('qwen_image', 'vae', {'latents_std': [1.0]}, 'expected a list of 4 numbers'),
  ('qwen_image', 'vae', {'z_dim': 8}, 'expected a list of 8 numbers'),
  (
    'qwen_image',
    'text_encoder',
    {'architectures': ['Qwen3Model']},
    'QwenImageTransformer2DModel with the text encoders Qwen3; expected',
  ),
  (
    'qwen_image',
    '',
    {'_class_name': 'QwenImageEditPlusPipeline'},
    'declares QwenImageEditPlusPipeline, which is given an image',
  ),
])  # fmt: skip
def test_what_is_no_z_image_or_qwen_image_is_refused(
  directories, tmp_path, family, file, fields, words
):
  directory = shutil.copytree(directories[family], tmp_path / 'other')
  path = directory / file / ('config.json' if file else 'model_index.json')
  change(path, **fields)
  with pytest.raises(ValueError) as caught:
    checks.check_prior(directory, ['a man'])
  message = str(caught.value)
  assert words in message and '\n' not in message
  assert str(path if file != 'text_encoder' else directory) in message


@pytest.mark.parametrize('family', ['z_image', 'qwen_image'])
def test_a_network_that_asks_for_lengths_is_not_recorded(directories, family):
  memory = messages.MemoryOptions(cuda_graphs=True)
  with pytest.raises(ValueError, match='Model cannot be recorded'):
    pipelines.open_pipeline(
      directories[family], 'float32', 'cpu', memory=memory
    )
