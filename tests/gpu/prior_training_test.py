"""Steps of a prior's training that a GPU plays back: those of Python."""

import numpy as np
import pytest
import torch

from mmdist.heads import drawing
from mmdist.heads import worlds
from mmdist.priors.training import device_training
from mmdist.priors.training import embedded
from mmdist.priors.training import from_scratch

PEOPLE = worlds.get('people')

pytestmark = pytest.mark.gpu
NUM_STEPS = 20
TRAINING = from_scratch.Training(
  num_images=100_000, learning_rate=1e-3, warmup_steps=5
)
FAMILIES = drawing.family_numbers(64, True)
TEXTS = ['a portrait of a man with green skin', 'a happy woman'] * 32


def train(record, dtype):
  """Returns the losses, weights and averages of 20 steps."""
  pipeline = embedded.make_pipeline(
    PEOPLE.captions.vocabulary(), dtype=dtype, device='cuda'
  )
  pipeline.denoiser.requires_grad_(True).train()
  pipeline.text.modules[0].requires_grad_(False).eval()
  pipeline = device_training.place(pipeline)
  state = from_scratch.init_state(pipeline, TRAINING)
  rng = np.random.default_rng(0)
  reader, lines = pipeline.text.readers[0], []

  def tokens_of(texts):
    padded = reader.tokenizer(
      texts, padding='max_length', max_length=reader.length
    )
    return np.array(padded['input_ids'])

  pixels = [rng.integers(0, 256, (512, 64, 64, 4), dtype=np.uint8)]
  steps = device_training.Steps(
    pipeline,
    state,
    TRAINING,
    device_training.upload(pixels, pipeline.device),
    FAMILIES,
    tokens_of([''])[0],
    lines.append,
    record,
  )
  tokens, losses = tokens_of(TEXTS), []
  for _ in range(NUM_STEPS):
    rows = rng.integers(0, 512, len(FAMILIES))
    greys = rng.uniform(0.35, 1, len(FAMILIES)).astype(np.float32)
    steps.step(rows, greys, tokens)
    losses.append(steps._loss.item())
  steps.check()
  assert not lines  # It could be recorded.
  weights = from_scratch.trainable_weights(pipeline)
  return losses, torch.cat([w.detach().flatten() for w in weights]), state


@pytest.mark.parametrize(
  # cuDNN may choose other kernels (TF32 has 10 bits of mantissa, bfloat16 8),
  # and AdamW turns the least difference of a tiny gradient into a step.
  'dtype, tolerance',
  [('float32', 2e-2), ('bfloat16', 5e-2)],
)
def test_recorded_steps_are_those_of_python(dtype, tolerance, record_property):
  losses, weights, state = train(False, dtype)
  found, recorded, recorded_state = train(True, dtype)
  deviation = max(np.abs(np.array(found) / losses - 1))
  record_property('relative deviation of the loss', f'{deviation:.2e}')
  assert found == pytest.approx(losses, rel=tolerance)
  assert found[-1] < found[0]
  assert (recorded_state.step, recorded_state.num_seen) == (20, 20 * 64)
  assert state.step == recorded_state.step
  # Weights have moved as far, in nearly the same direction.
  start = _first_weights(dtype)
  cosine = torch.nn.functional.cosine_similarity(
    weights - start, recorded - start, 0
  )
  assert cosine > 0.8
  for moments in recorded_state.optimizer.state.values():
    assert moments['step'].item() == NUM_STEPS


def _first_weights(dtype):
  pipeline = embedded.make_pipeline(
    PEOPLE.captions.vocabulary(), dtype=dtype, device='cuda'
  )
  weights = from_scratch.trainable_weights(pipeline)
  return torch.cat([w.detach().flatten() for w in weights])


def test_a_gradient_that_is_not_finite_moves_nothing_when_played_back():
  pipeline = embedded.make_pipeline(PEOPLE.captions.vocabulary(), device='cuda')
  pipeline.denoiser.requires_grad_(True).train()
  pipeline.text.modules[0].requires_grad_(False).eval()
  pipeline = device_training.place(pipeline)
  state = from_scratch.init_state(pipeline, TRAINING)
  reader = pipeline.text.readers[0]
  tokens = np.array(
    reader.tokenizer([''] * 64, padding='max_length', max_length=40)[
      'input_ids'
    ]
  )
  pixels = [np.full((8, 64, 64, 4), 128, np.uint8)]
  steps = device_training.Steps(
    pipeline,
    state,
    TRAINING,
    device_training.upload(pixels, pipeline.device),
    FAMILIES,
    tokens[0],
  )
  rows, greys = np.zeros(64, np.int64), np.zeros(64, np.float32)
  steps.step(rows, greys, tokens)
  steps.check()
  weights = from_scratch.trainable_weights(pipeline)
  before = [w.detach().clone() for w in weights]
  steps.step(rows, np.full(64, np.inf, np.float32), tokens)
  steps.step(rows, greys, tokens)
  with pytest.raises(FloatingPointError, match='the last checkpoint is sound'):
    steps.check()
  for weight, old in zip(weights, before, strict=True):
    assert torch.equal(weight, old)
