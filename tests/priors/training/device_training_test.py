"""The steps of a GPU, taken on a CPU: the maths is the same."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils import _python_dispatch

from mmdist.heads import drawing
from mmdist.heads import worlds
from mmdist.priors.training import denoising
from mmdist.priors.training import device_training
from mmdist.priors.training import dreambooth
from mmdist.priors.training import embedded
from mmdist.priors.training import from_scratch
from tests.priors import tiny

PEOPLE = worlds.get('people')

# Steps that can be recorded are all AdamW's.
TRAINING = from_scratch.Training(
  num_images=400,
  learning_rate=3e-3,
  warmup_steps=2,
  dtype='float32',
  optimizer='adamw',
)
FAMILIES = drawing.family_numbers(12, True)
SIZE = tiny.ARCHITECTURE.image_size
TEXTS = [
  f'a portrait of a man with {color} skin'
  for color in ('green', 'blue', 'red', 'pale', 'tan', 'dark')
] * 2


@pytest.fixture(autouse=True)
def _one_thread():
  before = torch.get_num_threads()
  torch.set_num_threads(1)
  yield
  torch.set_num_threads(before)


def make_tiny(seed=0, channels=4, training=TRAINING, **changes):
  """Returns a pipeline, its state and its steps."""
  pipeline = embedded.make_pipeline(
    PEOPLE.captions.vocabulary(), tiny.ARCHITECTURE, 'float32', seed
  )
  pipeline.denoiser.requires_grad_(True).train()
  pipeline.text.modules[0].requires_grad_(False).eval()
  pipeline = device_training.place(pipeline)
  state = from_scratch.init_state(pipeline, training)
  rng = np.random.default_rng(1)
  pixels = [
    rng.integers(0, 256, (count, SIZE, SIZE, channels), dtype=np.uint8)
    for count in (20, 30)
  ]
  steps = device_training.Steps(
    pipeline,
    state,
    training,
    device_training.upload(pixels, pipeline.device),
    FAMILIES,
    tokens_of(pipeline, [''])[0],
    **changes,
  )
  return pipeline, state, steps, np.concatenate(pixels)


def tokens_of(pipeline, texts):
  reader = pipeline.text.readers[0]
  return np.array(
    reader.tokenizer(texts, padding='max_length', max_length=reader.length)[
      'input_ids'
    ]
  )


def batch_of(pipeline, step=0):
  rng = np.random.default_rng(step)
  rows = rng.integers(0, 50, len(FAMILIES))
  greys = rng.uniform(0.35, 1, len(FAMILIES)).astype(np.float32)
  return rows, greys, tokens_of(pipeline, TEXTS)


def weights_of(pipeline):
  return [w.detach().clone() for w in from_scratch.trainable_weights(pipeline)]


def assert_same(first, second):
  for a, b in zip(first, second, strict=True):
    assert torch.equal(a, b)


@pytest.mark.parametrize('channels', [4, 3])
def test_the_loss_is_that_of_a_cpu_on_the_same_noise(monkeypatch, channels):
  """`dreambooth` is handed the noise that the device has drawn."""
  training = dataclasses.replace(TRAINING, empty_text_share=0.4)
  pipeline, _, steps, pixels = make_tiny(channels=channels, training=training)
  rows, greys, tokens = batch_of(pipeline)
  seen = []
  squared_errors = denoising.squared_errors

  def spy(pipeline, latents, timestep, noise, embeds, weights):
    noise = seen[0][3] if seen else noise
    seen.append((pipeline, latents, timestep, noise, embeds, weights))
    return squared_errors(*seen[-1])

  monkeypatch.setattr(denoising, 'squared_errors', spy)
  draw_empty = denoising.draw_empty
  # A CPU draws these after its noise, from the same generator.
  monkeypatch.setattr(
    denoising,
    'draw_empty',
    lambda rng, *args: draw_empty(np.random.default_rng(9), *args),
  )
  steps._fill(rows, greys, tokens)
  found = steps.loss()
  images = pixels[rows].astype(np.float32) / 255
  if channels == 4:
    grey = greys[:, None, None, None]
    images = images[..., :3] + (1 - images[..., 3:]) * grey
  tuning = dreambooth.FineTuning(
    empty_text_share=training.empty_text_share,
    noise_emphasis=training.noise_emphasis,
    family_emphasis=training.family_emphasis,
    seed=training.seed,
  )
  expected = dreambooth.training_loss(
    pipeline, (images, TEXTS, FAMILIES), tuning, 0
  )
  one, other = seen
  torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-6)  # Latents.
  assert torch.equal(one[2], other[2])  # Times.
  torch.testing.assert_close(one[4].sequence, other[4].sequence)  # Texts.
  torch.testing.assert_close(one[5], other[5])  # Weights of pixels.
  torch.testing.assert_close(found, expected)
  assert found.requires_grad


def test_noise_is_normal_and_shared_by_a_family():
  pipeline, state, steps, _ = make_tiny()
  drawn = []
  for step in range(60):
    state.step = step
    steps._fill(*batch_of(pipeline))
    drawn.append(steps._noise.clone())
  noise = torch.stack(drawn)
  assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
  assert not torch.equal(drawn[0], drawn[1])
  state.step = 0
  steps._fill(*batch_of(pipeline))
  assert torch.equal(steps._noise, drawn[0])
  shared = steps._noise[steps._leads]
  same = (shared[:, None] == shared).flatten(2).all(-1)
  np.testing.assert_array_equal(same, FAMILIES[:, None] == FAMILIES)


def test_steps_are_those_of_from_scratch_on_the_same_loss(monkeypatch):
  """The optimiser, clipping, schedule and average, against `train_step`."""
  pipeline, state, steps, _ = make_tiny()
  other, other_state, losses, _ = make_tiny()

  def loss(pipeline, batch, tuning, step):
    losses._state.step = step
    losses._fill(*batch_of(other, step))
    return losses.loss()

  monkeypatch.setattr(dreambooth, 'training_loss', loss)
  del other_state.optimizer.found_inf
  batch = (None, TEXTS, FAMILIES)
  expected = []
  for step in range(6):
    steps.step(*batch_of(pipeline, step))
    expected.append(
      from_scratch.train_step(other, other_state, TRAINING, batch)
    )
  assert steps.check() == pytest.approx(np.mean(expected), rel=1e-5)
  assert (state.step, state.num_seen) == (6, 6 * len(TEXTS))
  for a, b in zip(weights_of(pipeline), weights_of(other), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
  for a, b in zip(state.average, other_state.average, strict=True):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_gradient_that_is_not_finite_moves_nothing(monkeypatch):
  pipeline, state, steps, _ = make_tiny()
  steps.step(*batch_of(pipeline))
  steps.check()
  weights = from_scratch.trainable_weights(pipeline)
  before = weights_of(pipeline), [a.clone() for a in state.average]
  moments = [state.optimizer.state[w]['exp_avg'].clone() for w in weights]
  with monkeypatch.context() as broken:
    broken.setattr(
      steps,
      'loss',
      lambda: sum((w - w.detach()).abs().sqrt().sum() for w in weights),
    )
    steps.step(*batch_of(pipeline))
  # What follows before anybody looks moves nothing either.
  steps.step(*batch_of(pipeline))
  with pytest.raises(FloatingPointError, match='not finite .* is sound'):
    steps.check()
  assert_same(weights_of(pipeline), before[0])
  assert_same(state.average, before[1])
  assert_same([state.optimizer.state[w]['exp_avg'] for w in weights], moments)
  assert all(state.optimizer.state[w]['step'] == 1 for w in weights)


def test_warm_ups_move_nothing():
  """What is done before a recording: the step, with the flag up."""
  pipeline, state, steps, _ = make_tiny()
  before = weights_of(pipeline)
  steps._fill(*batch_of(pipeline))
  for _ in range(2):
    steps._bad.fill_(1)
    steps._move()
  assert_same(weights_of(pipeline), before)
  assert_same(state.average, before)
  for moments in state.optimizer.state.values():
    assert moments['step'] == 0
    assert not moments['exp_avg'].any() and not moments['exp_avg_sq'].any()


def test_a_step_asks_the_cpu_for_nothing():
  """Reading a number, or a shape that depends on one, cannot be recorded."""
  asked = []

  class Spy(_python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
      asked.append(func.overloadpacket.__name__)
      return func(*args, **(kwargs or {}))

  pipeline, _, steps, _ = make_tiny()
  steps._fill(*batch_of(pipeline))
  with Spy():
    steps._move()
  assert 'convolution_backward' in asked
  assert not {'_local_scalar_dense', 'nonzero', 'equal'} & set(asked)


def test_a_step_that_cannot_be_recorded_is_taken_all_the_same(monkeypatch):
  lines = []
  pipeline, state, steps, _ = make_tiny(report=lines.append, record=True)
  monkeypatch.setattr(
    steps, '_recorded', lambda: (_ for _ in ()).throw(RuntimeError('no graph'))
  )
  other, _, plain, _ = make_tiny()
  for step in range(2):
    steps.step(*batch_of(pipeline, step))
    plain.step(*batch_of(other, step))
  (line,) = lines
  assert line.startswith('warning: the step cannot be recorded (no graph)')
  assert_same(weights_of(pipeline), weights_of(other))
  assert state.step == 2


def test_gradients_have_the_strides_of_their_weights():
  weight = torch.nn.Parameter(torch.randn(4, 3, 1, 1))
  weight.data = weight.data.to(memory_format=torch.channels_last)
  gradient = torch.randn(4, 3, 1, 1)
  weight.grad = gradient.as_strided((4, 3, 1, 1), (3, 1, 1, 1))
  assert weight.grad.stride() != weight.stride()
  device_training._match_layouts([weight])
  assert weight.grad.stride() == weight.stride()
  assert torch.equal(weight.grad, gradient)


def test_a_checkpoint_goes_from_one_way_to_the_other(tmp_path):
  path = tmp_path / 'training.safetensors'
  pipeline, state, steps, _ = make_tiny()
  for step in range(2):
    steps.step(*batch_of(pipeline, step))
  from_scratch.save_checkpoint(path, pipeline, state)
  other, *_ = make_tiny(seed=4)
  lines = []
  other_state = from_scratch.load_checkpoint(
    path, other, TRAINING, lines.append
  )
  assert not lines
  assert (other_state.step, other_state.num_seen) == (2, 24)
  assert_same(weights_of(other), weights_of(pipeline))
  images = np.full((12, SIZE, SIZE, 3), 0.5, np.float32)
  from_scratch.train_step(
    other, other_state, TRAINING, (images, TEXTS, FAMILIES)
  )
  from_scratch.save_checkpoint(path, other, other_state)
  back, _, _, _ = make_tiny(seed=5)
  state = from_scratch.load_checkpoint(path, back, TRAINING)
  assert state.step == 3
  assert_same(weights_of(back), weights_of(other))


def test_a_checkpoint_of_another_device_is_told_of(tmp_path):
  path = tmp_path / 'training.safetensors'
  pipeline, state, *_ = make_tiny()
  there = dataclasses.replace(pipeline, device=torch.device('cuda'))
  from_scratch.save_checkpoint(path, there, state)
  lines = []
  from_scratch.load_checkpoint(path, pipeline, TRAINING, lines.append)
  (line,) = lines
  assert f'{path} was made on cuda and goes on on cpu' in line


def test_training_lowers_the_loss():
  pipeline, _, steps, _ = make_tiny()
  batch = batch_of(pipeline)
  losses = []
  for _ in range(30):
    steps.step(*batch)
    losses.append(steps._loss.item())
  assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
