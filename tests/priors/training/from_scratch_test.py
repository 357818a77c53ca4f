import dataclasses
import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch

from mmdist.heads import worlds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import sample
from mmdist.priors.training import dreambooth
from mmdist.priors.training import embedded
from mmdist.priors.training import from_scratch
from tests.priors import tiny

PEOPLE = worlds.get('people')

TRAINING = from_scratch.Training(
  num_images=4000, learning_rate=3e-3, warmup_steps=2, dtype='float32'
)
TEXTS = ('a red hat', 'a blue hat', 'a green hat', 'a red hat')
COLORS = {'red': (1, 0, 0), 'blue': (0, 0, 1), 'green': (0, 1, 0)}


@pytest.fixture(autouse=True)
def _one_thread():
  before = torch.get_num_threads()
  torch.set_num_threads(1)
  yield
  torch.set_num_threads(before)


def make_tiny(seed=0, architecture=tiny.ARCHITECTURE, dtype='float32'):
  pipeline = embedded.make_pipeline(
    PEOPLE.captions.vocabulary(), architecture, dtype, seed
  )
  pipeline.denoiser.requires_grad_(True).train()
  return pipeline


def batch(size=4):
  texts = [TEXTS[i % len(TEXTS)] for i in range(size)]
  colors = np.array([COLORS[text.split()[1]] for text in texts], np.float32)
  return np.tile(colors[:, None, None], (1, 8, 8, 1)), texts


def weights_of(pipeline):
  return [w.detach().clone() for w in from_scratch.trainable_weights(pipeline)]


def assert_same(first, second):
  for a, b in zip(first, second, strict=True):
    assert torch.equal(a, b)


def run(pipeline, state, num_steps, training=TRAINING):
  return [
    from_scratch.train_step(pipeline, state, training, batch())
    for _ in range(num_steps)
  ]


# Steps.


def test_a_trained_prior_is_opened_as_it_was_saved(tmp_path):
  pipeline = make_tiny()
  run(pipeline, from_scratch.init_state(pipeline, TRAINING), 2)
  pipelines.save_pipeline(pipeline, tmp_path, 'float32')
  opened = pipelines.open_pipeline(tmp_path, 'float32', 'cpu', train=True)
  assert_same(weights_of(pipeline), weights_of(opened))
  pictures = [
    sample.sample(p, ['a red hat'], num_steps=2, seed=0)
    for p in (pipeline, opened)
  ]
  # The attention processors differ, and so the order of their sums.
  np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-4)


@pytest.mark.parametrize(
  'step, num_seen, share',
  [
    (0, 0, 0.01),  # 1 of 100 warmup steps.
    (49, 0, 0.5),
    (99, 0, 1.0),
    (1000, 500, 1.0),
    (1000, 700, 1.0),  # Here the fall begins.
    (1000, 850, 0.5),
    (1000, 1000, 0.03),
    (1000, 5000, 0.03),
  ],
)
def test_the_learning_rate_rises_stays_and_falls(step, num_seen, share):
  training = from_scratch.Training(
    num_images=1000, learning_rate=2e-3, warmup_steps=100, decay_share=0.3
  )
  rate = from_scratch.learning_rate(training, step, num_seen)
  assert math.isclose(rate, 2e-3 * share, rel_tol=1e-9)


def test_training_lowers_the_loss():
  pipeline = make_tiny()
  state = from_scratch.init_state(pipeline, TRAINING)

  def loss():
    tuning = dreambooth.FineTuning(seed=8)
    with torch.no_grad():
      losses = [
        dreambooth.training_loss(pipeline, batch(8), tuning, step)
        for step in range(8)
      ]
    return sum(losses).item() / 8

  before = loss()
  run(pipeline, state, 40)
  pipeline.text.forget()
  assert loss() < 0.85 * before
  assert state.step == 40 and state.num_seen == 160


def test_a_gradient_that_is_not_finite_moves_nothing(monkeypatch):
  pipeline = make_tiny()
  state = from_scratch.init_state(pipeline, TRAINING)
  before = weights_of(pipeline)

  def infinitely_steep(*_):
    weights = from_scratch.trainable_weights(pipeline)
    return sum((w - w.detach()).abs().sqrt().sum() for w in weights)

  monkeypatch.setattr(dreambooth, 'training_loss', infinitely_steep)
  with pytest.raises(FloatingPointError, match='step 0 .* checkpoint is sound'):
    run(pipeline, state, 1)
  assert_same(weights_of(pipeline), before)
  assert state.step == 0 and not state.optimizer.state


def test_the_text_encoder_stays_and_is_kept_with_the_rest(tmp_path):
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  text = pipeline.text.encode(['a red hat']).sequence
  state = from_scratch.init_state(pipeline, TRAINING)
  run(pipeline, state, 2)
  pipeline.text.forget()
  assert torch.equal(pipeline.text.encode(['a red hat']).sequence, text)
  from_scratch.save_checkpoint(path, pipeline, state)
  other = make_tiny(seed=1)
  from_scratch.load_checkpoint(path, other, TRAINING)
  assert torch.equal(other.text.encode(['a red hat']).sequence, text)


def test_the_average_is_the_exponential_average_of_the_weights():
  pipeline = make_tiny()
  training = from_scratch.Training(
    num_images=4000,
    learning_rate=5e-4,
    warmup_steps=2,
    dtype='float32',
    ema=0.3,
  )
  state = from_scratch.init_state(pipeline, training)
  expected = weights_of(pipeline)
  for step in range(4):
    run(pipeline, state, 1, training)
    keep = min(0.3, (1 + step) / (10 + step))
    expected = [
      keep * old + (1 - keep) * new
      for old, new in zip(expected, weights_of(pipeline), strict=True)
    ]
  for found, wanted in zip(state.average, expected, strict=True):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


# Checkpoints.


def test_a_resumed_training_continues_bitwise(tmp_path):
  whole, half, resumed = make_tiny(), make_tiny(), make_tiny(seed=9)
  whole_state = from_scratch.init_state(whole, TRAINING)
  losses = run(whole, whole_state, 6)
  state = from_scratch.init_state(half, TRAINING)
  run(half, state, 3)
  path = tmp_path / 'training.safetensors'
  from_scratch.save_checkpoint(path, half, state)
  resumed_state = from_scratch.load_checkpoint(path, resumed, TRAINING)
  assert (resumed_state.step, resumed_state.num_seen) == (3, 12)
  assert run(resumed, resumed_state, 3) == losses[3:]
  assert_same(weights_of(resumed), weights_of(whole))
  assert_same(resumed_state.average, whole_state.average)


@pytest.mark.parametrize(
  'before, after', [('muon', 'adamw'), ('adamw', 'muon')]
)
def test_a_training_that_goes_on_by_another_optimizer_says_so(
  tmp_path, before, after
):
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  training = dataclasses.replace(TRAINING, optimizer=before)
  state = from_scratch.init_state(pipeline, training)
  run(pipeline, state, 2, training)
  from_scratch.save_checkpoint(path, pipeline, state)
  lines = []
  training = dataclasses.replace(TRAINING, optimizer=after)
  state = from_scratch.load_checkpoint(path, pipeline, training, lines.append)
  (line,) = lines
  assert f'was made by optimizer={before} and goes on by {after}' in line
  weights = weights_of(pipeline)
  assert np.isfinite(run(pipeline, state, 1, training)).all()
  moved = [
    not torch.equal(a, b)
    for a, b in zip(weights, weights_of(pipeline), strict=True)
  ]
  assert sum(moved) > 0.9 * len(moved)


def test_a_checkpoint_from_before_the_first_step_is_read(tmp_path):
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  from_scratch.save_checkpoint(
    path, pipeline, from_scratch.init_state(pipeline, TRAINING)
  )
  state = from_scratch.load_checkpoint(path, make_tiny(seed=5), TRAINING)
  assert state.step == 0 and not state.optimizer.state


def test_a_training_that_goes_on_in_another_dtype_says_so(tmp_path):
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  from_scratch.save_checkpoint(
    path, pipeline, from_scratch.init_state(pipeline, TRAINING)
  )
  lines = []
  from_scratch.load_checkpoint(path, make_tiny(), TRAINING, lines.append)
  assert not lines
  other = make_tiny(dtype='bfloat16')
  from_scratch.load_checkpoint(path, other, TRAINING, lines.append)
  (line,) = lines
  assert f'{path} was made in float32 and goes on in bfloat16' in line


def test_a_checkpoint_that_says_no_dtype_is_read(tmp_path):
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  training = dataclasses.replace(TRAINING, optimizer='adamw')
  from_scratch.save_checkpoint(
    path, pipeline, from_scratch.init_state(pipeline, training)
  )
  # As mmdist 0.1 wrote it.
  where = json.dumps({'step': 0, 'num_seen': 0})
  tensors = safetensors.torch.load_file(path)
  safetensors.torch.save_file(tensors, path, {'state': where})
  other, lines = make_tiny(dtype='bfloat16'), []
  from_scratch.load_checkpoint(path, other, training, lines.append)
  assert not lines


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  state = from_scratch.init_state(pipeline, TRAINING)
  from_scratch.save_checkpoint(path, pipeline, state)
  before = path.read_bytes()

  def fail(tensors, temporary, metadata):
    temporary.write_bytes(b'half')
    raise OSError('disk full')

  monkeypatch.setattr('safetensors.torch.save_file', fail)
  with pytest.raises(OSError, match='disk full'):
    from_scratch.save_checkpoint(path, pipeline, state)
  assert path.read_bytes() == before


@pytest.mark.parametrize('change', [{'text_width': 32}, {'text_layers': 2}])
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, change):
  other = dataclasses.replace(tiny.ARCHITECTURE, **change)
  pipeline, path = make_tiny(), tmp_path / 'training.safetensors'
  from_scratch.save_checkpoint(
    path, pipeline, from_scratch.init_state(pipeline, TRAINING)
  )
  with pytest.raises(ValueError, match='of another architecture'):
    from_scratch.load_checkpoint(path, make_tiny(architecture=other), TRAINING)


@pytest.mark.parametrize('content', [b'', b'no tensors here, none at all'])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
  path = tmp_path / 'training.safetensors'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='training.safetensors .* damaged'):
    from_scratch.load_checkpoint(path, make_tiny(), TRAINING)


def test_averaged_weights_go_in_and_out_exactly():
  pipeline = make_tiny()
  state = from_scratch.init_state(pipeline, TRAINING)
  run(pipeline, state, 3)
  weights = weights_of(pipeline)
  undo = from_scratch.averaged(pipeline, state)
  assert_same(weights_of(pipeline), state.average)
  assert any(
    not torch.equal(a, b) for a, b in zip(weights, state.average, strict=True)
  )
  undo()
  assert_same(weights_of(pipeline), weights)


# Ranks.


def test_two_ranks_take_the_step_of_the_mean_of_their_gradients(monkeypatch):
  """One process plays rank 0; what rank 1 sends was computed before."""
  batches = [batch(4), batch(3)]
  grads = []
  for rank in (0, 1):
    pipeline = make_tiny()
    tuning = dreambooth.FineTuning(
      empty_text_share=TRAINING.empty_text_share,
      noise_emphasis=TRAINING.noise_emphasis,
      seed=rank,
    )
    loss = dreambooth.training_loss(pipeline, batches[rank], tuning, 0)
    loss.backward()
    grads.append(
      [weight.grad for weight in from_scratch.trainable_weights(pipeline)]
    )
  zero = [torch.zeros_like(w) for w in from_scratch.trainable_weights(pipeline)]
  grads = [
    [z if g is None else g for g, z in zip(side, zero, strict=True)]
    for side in grads
  ]
  reference = make_tiny()
  state = from_scratch.init_state(reference, TRAINING)
  weights = from_scratch.trainable_weights(reference)
  for weight, a, b in zip(weights, *grads, strict=True):
    weight.grad = (a + b) / 2
  torch.nn.utils.clip_grad_norm_(weights, TRAINING.max_gradient_norm)
  state.optimizer.param_groups[0]['lr'] = from_scratch.learning_rate(
    TRAINING, 0, 0
  )
  state.optimizer.step()
  state.matrices.step(from_scratch.learning_rate(TRAINING, 0, 0))

  sent = torch.cat([grad.reshape(-1) for grad in grads[1]])
  monkeypatch.setattr(
    torch.distributed, 'all_reduce', lambda flat: flat.add_(sent)
  )
  pipeline = make_tiny()
  state = from_scratch.init_state(pipeline, TRAINING)
  from_scratch.train_step(pipeline, state, TRAINING, batches[0], 0, 2)
  # Adam divides by the gradient's size: tiny ones of either sign are noise.
  for found, wanted in zip(
    weights_of(pipeline), weights_of(reference), strict=True
  ):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
  assert state.num_seen == 8


def test_ranks_draw_noise_of_their_own():
  losses = []
  for rank in (0, 1):
    tuning = dreambooth.FineTuning(seed=2 * TRAINING.seed + rank)
    losses.append(
      dreambooth.training_loss(make_tiny(), batch(), tuning, 0).item()
    )
  assert losses[0] != losses[1]


def test_one_rank_joins_nobody_and_stops_when_it_likes(tmp_path):
  from_scratch.join(0, 1, tmp_path / 'rendezvous')
  assert torch.get_num_threads() == 1
  assert not torch.distributed.is_initialized()
  assert from_scratch.agree_to_stop(True, 1) and not from_scratch.agree_to_stop(
    False, 1
  )


def test_ranks_stop_together(monkeypatch):
  monkeypatch.setattr(
    torch.distributed, 'all_reduce', lambda flag: flag.add_(1)
  )
  assert from_scratch.agree_to_stop(False, 2)
  monkeypatch.setattr(torch.distributed, 'all_reduce', lambda flag: flag)
  assert not from_scratch.agree_to_stop(False, 2)


def test_the_loss_shown_is_the_mean_of_the_last():
  assert math.isnan(from_scratch.loss_history([]))
  assert from_scratch.loss_history([5.0, 1.0, 3.0], window=2) == 2.0
