"""A checkpoint in one file is the model that its diffusers directory is."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from mmdist.core import messages
from mmdist.priors import checks
from mmdist.priors import digest
from mmdist.priors import locate
from mmdist.priors import memory_needs
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import single_file
from tests.priors import tiny
from tests.priors import tiny_checkpoints

pytestmark = pytest.mark.usefixtures('own_cache')
PROMPT = 'a happy man'


def error_of(file, base=''):
  with pytest.raises((ValueError, FileNotFoundError)) as caught:
    directory = locate.locate(str(file), str(base))
    pipelines.open_pipeline(directory, device='cpu')
  message = str(caught.value)
  assert '\n' not in message and str(file) in message
  return message


def answer(**options):
  built = priors.build(tiny.spec(options.pop('directory'), **options))
  images = np.random.default_rng(0).uniform(size=(2, 16, 16, 3))
  request = messages.ScoreRequest(
    step=0,
    seed=0,
    images=images.astype(np.float32),
    noise_levels=np.array([0.3, 0.7], np.float32),
    terms=(messages.Term((PROMPT,) * 2, PROMPT, 1.0, 8.0),),
    proxy_step=0,
    proxy_learning_rate=1e-3,
  )
  return built.score(request).cotangent


def assert_same(found, expected):
  largest = np.abs(expected).max()
  assert largest > 0
  # The same weights elsewhere in memory may be summed in another order.
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize('family', tiny_checkpoints.FAMILIES)
def test_it_scores_as_the_diffusers_directory_does(checkpoints, family):
  directory, file, base = checkpoints[family]
  expected = answer(directory=directory)
  found = answer(directory=str(file), base=str(base))
  assert_same(found, expected)
  # All weights came from the file: the base has none.
  assert not list(base.rglob('*.safetensors'))
  laid = pathlib.Path(locate.locate(str(file), str(base)))
  assert not list(laid.rglob('*.safetensors'))
  checks.check_prior(laid, [PROMPT])


@pytest.mark.parametrize('family', tiny_checkpoints.FAMILIES)
def test_every_weight_is_that_of_the_directory(checkpoints, family):
  directory, file, base = checkpoints[family]
  plain = pipelines.open_pipeline(directory, 'float32', 'cpu')
  opened = pipelines.open_pipeline(
    locate.locate(str(file), str(base)), 'float32', 'cpu'
  )
  pairs = [
    (plain.denoiser, opened.denoiser),
    (plain.codec.vae, opened.codec.vae),
    *zip(plain.text.modules, opened.text.modules, strict=True),
  ]
  for theirs, ours in pairs:
    assert not ours.training
    found = dict(ours.named_parameters()) | dict(ours.named_buffers())
    for name, weight in {
      **dict(theirs.named_parameters()),
      **dict(theirs.named_buffers()),
    }.items():
      assert torch.equal(found[name], weight), name
    assert not any(weight.requires_grad for weight in ours.parameters())


def test_it_may_be_opened_by_its_own_path(checkpoints):
  directory, file, base = checkpoints['sd1']
  opened = pipelines.open_pipeline(file, 'float32', 'cpu', base=str(base))
  weights = opened.denoiser.state_dict()
  plain = pipelines.open_pipeline(directory, 'float32', 'cpu')
  for name, weight in plain.denoiser.state_dict().items():
    assert torch.equal(weights[name], weight)
  with pytest.raises(ValueError, match='no tokenizer'):
    checks.check_prior(file, [PROMPT])


def test_what_it_needs_and_is_are_counted_of_it_alone(checkpoints):
  directory, file, base = checkpoints['sdxl']
  given = {'directory': str(file), 'base': str(base)}
  found = memory_needs.of_prior(
    tiny.spec(given['directory'], **{'base': given['base']}), 2
  )
  assert found == memory_needs.of_prior(tiny.spec(directory), 2)
  digests = digest.weight_digests(str(file), base=str(base))
  assert digests == {file.name: digest.sha256(file)}
  moved = shutil.copy(file, file.with_name('renamed.safetensors'))
  one, other = (
    digest.files_digest(str(path), digests, str(base)) for path in (file, moved)
  )
  assert one == other


@pytest.mark.parametrize('stored', ['float16', 'float64'])
def test_files_of_any_precision_compute_in_the_dtype_asked_for(
  checkpoints, stored, tmp_path
):
  _, file, base = checkpoints['sd1']
  state = safetensors.torch.load_file(file)
  other = tmp_path / 'other.SAFETENSORS'
  tiny_checkpoints.save(state, other, getattr(torch, stored))
  directory = locate.locate(str(other), str(base))
  for dtype in ('float32', 'bfloat16'):
    opened = pipelines.open_pipeline(directory, dtype, 'cpu')
    assert opened.denoiser.dtype == getattr(torch, dtype)
  assert opened.text.modules[0].dtype == torch.float32


def test_what_t5_keeps_in_float32_is_kept_however_it_is_opened(
  checkpoints, tmp_path
):
  directory, file, base = checkpoints['sd3']
  lora = tmp_path / 'lora.safetensors'
  layer = 'lora_te3_encoder_block_0_layer_0_SelfAttention_q'
  tiny_checkpoints.save(
    {
      f'{layer}.lora_down.weight': torch.ones(1, 32),
      f'{layer}.lora_up.weight': torch.ones(16, 1),
    },
    lora,
  )
  memory = messages.MemoryOptions(text_dtype='float16')
  found = []
  for path, more in (
    (directory, {}),
    (directory, {'loras': [(str(lora), 1.0)]}),
    (file, {'base': str(base)}),
  ):
    opened = pipelines.open_pipeline(
      path, 'float32', 'cpu', memory=memory, **more
    )
    t5 = opened.text.modules[2]
    found.append({name: w.dtype for name, w in t5.named_parameters()})
  assert found[0] == found[1] == found[2]
  assert set(found[0].values()) == {torch.float16, torch.float32}


def test_what_the_file_lacks_comes_from_the_base(checkpoints, tmp_path):
  directory, file, _ = checkpoints['sdxl']
  state = safetensors.torch.load_file(file)
  alone = tmp_path / 'unet.safetensors'
  tiny_checkpoints.save(
    {k: v for k, v in state.items() if k.startswith('model.')}, alone
  )
  found = answer(directory=str(alone), base=str(directory))
  assert_same(found, answer(directory=directory))
  names = digest.weight_digests(str(alone), base=str(directory))
  assert {'unet.safetensors', 'vae/diffusion_pytorch_model.safetensors'} <= set(
    names
  )
  bare = tmp_path / 'bare'
  (bare / 'tokenizer').mkdir(parents=True)
  message = error_of(alone, bare)
  assert 'without its vae, text_encoder and text_encoder_2, and' in message
  assert f'{bare} has none of this' in message
  # Its first tokenizer is there.
  assert message.endswith('text_encoder_2/ and tokenizer_2/.')


def test_the_tokenizer_has_to_come_from_somewhere(checkpoints):
  _, file, base = checkpoints['sd1']
  message = error_of(file)
  assert 'Stable Diffusion 1' in message and 'no tokenizer' in message
  assert '--config.priors.NAME.base=DIR' in message
  shutil.rmtree(base / 'tokenizer')
  try:
    assert f'and {base} has none' in error_of(file, base)
  finally:
    tiny.clip_tokenizer(base / 'tokenizer')


def test_figures_that_are_shipped_are_those_of_the_published_sizes(
  checkpoints, tmp_path
):
  # Without a base's configs, the shipped ones count, which the tiny are not.
  _, file, base = checkpoints['sd1']
  only = tmp_path / 'only'
  shutil.copytree(base / 'tokenizer', only / 'tokenizer')
  assert 'is base of another model?' in error_of(file, only)


def test_stable_diffusion_2_does_not_say_what_it_predicts(
  checkpoints, tmp_path
):
  _, file, base = checkpoints['sd2']
  only = tmp_path / 'only'
  shutil.copytree(base / 'tokenizer', only / 'tokenizer')
  assert 'predicts the noise or v' in error_of(file, only)
  message = error_of(file)
  assert 'in stable-diffusion-2-base, or v_prediction, as in' in message
  assert message.endswith(
    '--config.priors.NAME.base=DIR, which has tokenizer/ and '
    'scheduler/scheduler_config.json.'
  )


@pytest.mark.parametrize(
  'said, marks, expected, size',
  [
    ('v', {}, 'v_prediction', 96),
    ('epsilon', {}, 'epsilon', 64),
    (None, {'v_pred': torch.zeros(0)}, 'v_prediction', 96),
    ('epsilon', {'v_pred': torch.zeros(0)}, 'v_prediction', 96),
    ('something', {}, None, None),
  ],
)
def test_a_stable_diffusion_2_that_says_what_it_predicts_is_believed(
  checkpoints, tmp_path, said, marks, expected, size
):
  _, file, base = checkpoints['sd2']
  marked = tmp_path / 'marked.safetensors'
  safetensors.torch.save_file(
    safetensors.torch.load_file(file) | marks,
    marked,
    {'modelspec.prediction_type': said} if said else None,
  )
  only = tmp_path / 'only'
  shutil.copytree(base / 'tokenizer', only / 'tokenizer')
  if expected is None:
    assert 'predicts the noise or v' in error_of(marked, only)
    return
  laid = pathlib.Path(locate.locate(str(marked), str(only)))
  for path, field, value in (
    ('scheduler/scheduler_config.json', 'prediction_type', expected),
    ('unet/config.json', 'sample_size', size),
  ):
    assert json.loads((laid / path).read_text())[field] == value
  # A base's word counts more than that of metadata.
  opened = pipelines.open_pipeline(
    locate.locate(str(marked), str(base)), device='cpu'
  )
  assert opened.schedule.prediction_type == 'v_prediction'


def test_marks_of_v_prediction_and_zero_snr_count(checkpoints, tmp_path):
  _, file, base = checkpoints['sdxl']
  state = safetensors.torch.load_file(file)
  marked = tmp_path / 'marked.safetensors'
  marks = {'v_pred': torch.zeros(0), 'ztsnr': torch.zeros(0)}
  tiny_checkpoints.save(state | marks, marked)
  opened = pipelines.open_pipeline(
    locate.locate(str(marked), str(base)), device='cpu'
  )
  assert opened.schedule.prediction_type == 'v_prediction'
  assert opened.schedule.ends_in_noise


def test_stable_diffusion_3_does_without_its_t5(checkpoints, tmp_path):
  directory, file, base = checkpoints['sd3']
  state = safetensors.torch.load_file(file)
  small = tmp_path / 'small.safetensors'
  tiny_checkpoints.save(
    {k: v for k, v in state.items() if 't5xxl' not in k}, small
  )
  bare = pathlib.Path(shutil.copytree(base, tmp_path / 'bare'))
  theirs = pathlib.Path(shutil.copytree(directory, tmp_path / 'theirs'))
  for folder in (bare, theirs):
    shutil.rmtree(folder / 'text_encoder_3')
    shutil.rmtree(folder / 'tokenizer_3')
  assert_same(
    answer(directory=str(small), base=str(bare)), answer(directory=theirs)
  )


NETWORK = 'model.diffusion_model.'


def test_a_weight_too_many_or_too_few_is_named(checkpoints, tmp_path):
  _, file, base = checkpoints['sd1']
  state = safetensors.torch.load_file(file)
  broken = tmp_path / 'broken.safetensors'
  more = f'{NETWORK}input_blocks.9.0.in_layers.0.weight'
  tiny_checkpoints.save(state | {more: torch.ones(3)}, broken)
  assert 'unet has' in error_of(broken, base)
  for lost, words in (
    (f'{NETWORK}out.2.weight', 'unet lacks 1 weights'),
    ('first_stage_model.decoder.conv_in.bias', 'vae lacks 1 weights'),
    (
      'cond_stage_model.transformer.text_model.final_layer_norm.bias',
      'text_encoder lacks 1 weights',
    ),
  ):
    tiny_checkpoints.save({k: v for k, v in state.items() if k != lost}, broken)
    assert words in error_of(broken, base)


def test_files_that_are_no_safetensors_are_named(tmp_path):
  for name, content, words in (
    ('model.ckpt', b'PK', 'pickled'),
    ('model.safetensors', b'version https://git-lfs', 'Git LFS'),
    ('model.gguf', b'GGUF', 'GGUF'),
    ('model_index.json', b'{}', 'is a file; expected a diffusers directory'),
  ):
    file = tmp_path / name
    file.write_bytes(content)
    assert words in error_of(file)


def test_a_base_beside_a_directory_is_refused(checkpoints):
  directory, _, base = checkpoints['sd1']
  with pytest.raises(ValueError, match='leave base out'):
    locate.locate(str(directory), str(base))


def test_another_file_or_base_is_another_directory(checkpoints, tmp_path):
  _, file, base = checkpoints['sd1']
  before = locate.locate(str(file), str(base))
  assert locate.locate(str(file), str(base)) == before
  other = pathlib.Path(shutil.copytree(base, tmp_path / 'other'))
  path = other / 'scheduler' / 'scheduler_config.json'
  config = json.loads(path.read_text()) | {'prediction_type': 'v_prediction'}
  path.write_text(json.dumps(config))
  assert locate.locate(str(file), str(other)) != before
  origin = single_file.read_origin(pathlib.Path(before))
  assert origin is not None and origin.file == file.resolve()
