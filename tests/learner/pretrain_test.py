import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.cameras import photographs
from mmdist.core import arrays
from mmdist.data import multiview
from mmdist.data import pixel_stream
from mmdist.learner import pretrain
from mmdist.learner import pretrain_checkpoint
from mmdist.nerf import field
from mmdist.nerf import images
from tests.core import compiling
from tests.nerf import compiled_nerf
from tests.nerf import tiny_nerf

CONFIG = pretrain.PretrainConfig(
  nerf=tiny_nerf.CONFIG,
  num_steps=60,
  batch_size=32,
  chunk_size=8,
  num_devices=1,
  learning_rate=2e-2,
  num_warmup_steps=5,
  num_code_steps=30,
)
COLORS = np.float32([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.1]])


@functools.cache  # One representation: what is compiled for it is shared.
def unjittered() -> field.ConditionalNerf:
  representation = field.conditional_nerf(CONFIG.nerf)

  def render(params, rays, key, *, with_normals):
    del key  # It depends on how rays are cut into chunks.
    return representation.render(params, rays, None, with_normals=with_normals)

  init = compiled_nerf.conditional_nerf(CONFIG.nerf).init
  return dataclasses.replace(representation, init=init, render=render)


@compiling.compiled
def plain_render(params, batch):
  """Renders all pixels of a batch at once."""
  return unjittered().render(params, batch.rays(), None, with_normals=False)


def batch_of(number, subjects=(0, 1), size=32):
  """Pixels of subjects that are one opaque colour each, over grey."""
  rng = np.random.default_rng(number)
  cameras = orbits.sample(size, rng).cameras()
  subject = rng.choice(subjects, size).astype(np.int32)
  rgba = np.concatenate([COLORS[subject], np.ones((size, 1))], -1)
  return photographs.PixelBatch(
    subject=subject,
    camera_to_world=cameras.camera_to_world,
    tan_half_fov=cameras.tan_half_fov,
    coordinates=rng.uniform(-0.5, 0.5, (size, 2)).astype(np.float32),
    rgba=rgba.astype(np.float32),
    background=np.full((size, 3), 0.7, np.float32),
    resolution=64,
  )


@pytest.fixture(scope='module')
def trained():
  """A training of 60 steps; returns its states and its metrics."""
  with compiling.in_a_hurry():
    pretraining = pretrain.make_pretraining(unjittered(), CONFIG)
  state = pretraining.init(2)
  states, history = [state], []
  for number in range(60):
    state, metrics = pretraining.step(state, batch_of(number))
    states.append(state)
    history.append({name: float(value) for name, value in metrics.items()})
  return pretraining, states, history


def test_training_learns_the_colours_of_its_subjects(trained):
  _, states, history = trained
  assert history[-1]['mse'] < 0.2 * history[0]['mse']
  assert int(states[-1].step) == 60
  assert all(np.isfinite(list(metrics.values())).all() for metrics in history)


def test_codes_are_summed_alike_where_a_gpu_would(monkeypatch):
  rng = np.random.default_rng(0)
  grads = rng.normal(size=(3, 40, 5)).astype(np.float32)
  subject = rng.integers(0, 4, (3, 40)).astype(np.int32)
  expected = np.zeros((6, 5))
  np.add.at(expected, subject, grads)
  for is_cpu in (True, False):
    monkeypatch.setattr(pretrain.platforms, 'is_cpu', lambda on=is_cpu: on)
    found = pretrain._sum_by_subject(grads, subject, 6)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_representation_that_knows_one_precision_is_not_asked_for_another():
  config = dataclasses.replace(CONFIG, compute='bfloat16')
  plain = dataclasses.replace(unjittered(), with_compute=None)
  with pytest.raises(ValueError, match="^compute is 'bfloat16', and this repr"):
    pretrain.make_pretraining(plain, config)


def test_every_subject_has_a_code_and_the_networks_have_none(trained):
  _, states, _ = trained
  assert set(states[0].params) == {'proposal', 'nerf', 'codes'}
  assert states[0].params['codes'].shape == (2, 3)


def test_gradients_by_chunks_are_those_of_the_whole_batch(trained):
  _, states, history = trained
  state, batch = states[10], batch_of(10)
  representation = unjittered()

  def loss(params, batch):
    codes = params['codes'][batch.subject]
    networks = {'proposal': params['proposal'], 'nerf': params['nerf']}
    renders = representation.render(
      {**networks, 'code': codes}, batch.rays(), None, with_normals=False
    )
    return (
      jnp.mean((renders.rgb - batch.rgb()) ** 2)
      + CONFIG.interlevel_weight * jnp.mean(renders.regularizer)
      + CONFIG.opacity_weight * jnp.mean((renders.acc - batch.rgba[:, 3]) ** 2)
      + CONFIG.code_weight * jnp.mean(jnp.sum(codes**2, -1))
    )

  value, gradient = compiling.compiled(jax.value_and_grad(loss))(
    state.params, batch
  )
  assert history[10]['loss'] == pytest.approx(float(value), rel=1e-4)
  # The gradient that the step used shows in Adam's first moment.
  before, after = jax.device_get([s.opt_state[0].mu for s in states[10:12]])
  used = jax.tree.map(lambda a, b: (a - 0.9 * b) / 0.1, after, before)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-2),
    used,
    gradient,
  )


def test_the_interlevel_loss_trains_the_proposals(trained):
  # Nothing else does: where they put samples has no gradient. The loss is so
  # small that the sum of all losses would not show it.
  _, states, _ = trained
  moments = jax.tree.leaves(states[1].opt_state[0].mu['proposal'])
  assert max(float(jnp.abs(moment).max()) for moment in moments) > 0


def test_a_training_goes_on_from_its_file_as_if_never_stopped(
  trained, tmp_path
):
  pretraining, states, _ = trained
  path = tmp_path / 'training.safetensors'
  pretrain_checkpoint.save(path, states[3], {'next': 3}, CONFIG)
  fresh = pretraining.init(2)
  state, stream = pretrain_checkpoint.load(path, fresh, CONFIG)
  assert stream == {'next': 3}
  for number in range(3, 6):
    state, _ = pretraining.step(state, batch_of(number))
  jax.tree.map(np.testing.assert_array_equal, state, states[6])


def test_a_training_by_muon_learns_and_goes_on(tmp_path):
  config = dataclasses.replace(CONFIG, optimizer='muon')
  with compiling.in_a_hurry():
    pretraining = pretrain.make_pretraining(unjittered(), config)
  path = tmp_path / 'training.safetensors'
  states, errors = [pretraining.init(2)], []
  for number in range(12):
    state, metrics = pretraining.step(states[-1], batch_of(number))
    states.append(state)
    errors.append(float(metrics['mse']))
  assert errors[-1] < 0.7 * errors[0]
  pretrain_checkpoint.save(path, states[10], {}, config)
  state, _ = pretrain_checkpoint.load(path, pretraining.init(2), config)
  for number in range(10, 12):
    state, _ = pretraining.step(state, batch_of(number))
  jax.tree.map(np.testing.assert_array_equal, state, states[12])
  with pytest.raises(ValueError, match='another optimizer;'):
    pretrain_checkpoint.load(path, pretraining.init(2), CONFIG)


def test_an_optimizer_that_there_is_not_is_refused():
  with pytest.raises(ValueError, match="optimizer is 'moun'.*'muon'"):
    pretrain.check(dataclasses.replace(CONFIG, optimizer='moun'))


def test_a_checkpoint_of_another_configuration_is_refused(trained, tmp_path):
  pretraining, states, _ = trained
  path = tmp_path / 'training.safetensors'
  pretrain_checkpoint.save(path, states[0], {}, CONFIG)
  other = dataclasses.replace(CONFIG, learning_rate=1.0, num_steps=9)
  with pytest.raises(ValueError, match='another learning_rate, num_steps;'):
    pretrain_checkpoint.load(path, pretraining.init(2), other)
  with pytest.raises(ValueError, match='number of subjects'):
    pretrain_checkpoint.load(path, pretraining.init(3), CONFIG)


def test_a_damaged_checkpoint_is_named(trained, tmp_path):
  pretraining, states, _ = trained
  path = tmp_path / 'training.safetensors'
  pretrain_checkpoint.save(path, states[0], {}, CONFIG)
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(ValueError, match='is damaged .* remove it'):
    pretrain_checkpoint.load(path, states[0], CONFIG)


def test_fitting_a_code_moves_nothing_else_and_helps(trained):
  _, states, _ = trained
  params = states[-1].params
  batches = (batch_of(number, subjects=[1]) for number in itertools.count(100))
  # Subject 1 stands in for an unseen one that its code can describe.
  with compiling.in_a_hurry():
    codes = pretrain.fit_codes(unjittered(), CONFIG, params, 2, batches)
  mean = params['codes'].mean(0)
  # Nobody asked about subject 0: its code is only drawn to nothing by nothing.
  np.testing.assert_array_equal(codes[0], mean)

  def error(latent_code):
    batch = batch_of(999, subjects=[1])
    networks = {name: params[name] for name in ('nerf', 'proposal')}
    renders = plain_render({**networks, 'code': latent_code}, batch)
    return np.mean((renders.rgb - batch.rgb()) ** 2)

  assert error(codes[1]) < 0.7 * error(mean)


def test_held_out_psnr_is_that_of_a_known_error():
  def render(params, rays, key, *, with_normals):
    del key, with_normals
    shade = rays.background + params['code']
    rest = rays.near[:, 0]
    return arrays.Renders(shade, shade, rest, rest, rest)

  def clear(height, width):
    """A clear picture: it shows its background, from which renders are off."""
    shape = (height, width)
    camera = orbits.turntable(1).cameras()
    return photographs.PixelBatch(
      subject=np.zeros(shape, np.int32),
      camera_to_world=np.tile(camera.camera_to_world, shape + (1, 1)),
      tan_half_fov=np.tile(camera.tan_half_fov, shape),
      coordinates=np.zeros(shape + (2,), np.float32),
      rgba=np.zeros(shape + (4,), np.float32),
      background=np.full(shape + (3,), 0.7, np.float32),
      resolution=width,
    )

  psnr = pretrain.held_out_psnr(
    field.ConditionalNerf(None, render, None),
    {'nerf': {}, 'codes': np.zeros((5, 3))},
    np.float32([[0.1] * 3, [0.01] * 3]),
    # Of several sizes, the second in two chunks of which one is not full.
    iter([clear(8, 8), clear(30, 50)]),
  )
  np.testing.assert_allclose(psnr, [20, 40], atol=1e-2)


def test_held_out_psnr_is_that_of_the_rendered_pictures(trained):
  params = trained[1][-1].params
  cameras = orbits.turntable(2).cameras()
  pictures = multiview.MultiviewSet(
    np.random.default_rng(0).integers(0, 256, (2, 1, 12, 12, 4), np.uint8),
    cameras.camera_to_world[:, None],
    cameras.tan_half_fov[:, None],
  )
  with compiling.in_a_hurry():
    psnr = pretrain.held_out_psnr(
      unjittered(),
      params,
      params['codes'],
      [pixel_stream.read_picture(pictures, i, 0, 0.7) for i in range(2)],
    )
  rgba = multiview.rgba8_to_premultiplied(pictures.images[:, 0])
  target = rgba[..., :3] + (1 - rgba[..., 3:]) * 0.7
  for i, latent_code in enumerate(params['codes']):
    networks = {name: params[name] for name in ('nerf', 'proposal')}
    with compiling.in_a_hurry():
      rendered = images.render_images(
        unjittered(),
        {**networks, 'code': latent_code},
        cameras.take(slice(i, i + 1)),
        12,
        np.full(3, 0.7),
        with_normals=False,
      )['rgb'][0]
    expected = -10 * np.log10(np.mean((rendered - target[i]) ** 2))
    assert psnr[i] == pytest.approx(expected, abs=1e-3)


def test_the_learning_rate_rises_then_falls_to_its_share():
  rate = pretrain.learning_rate_at(CONFIG)
  assert rate(0) == 0
  assert rate(5) == pytest.approx(CONFIG.learning_rate)
  assert rate(60) == pytest.approx(
    CONFIG.learning_rate * CONFIG.final_learning_rate_ratio
  )


def test_a_batch_that_cannot_be_dealt_out_is_refused():
  config = dataclasses.replace(CONFIG, batch_size=30)
  with pytest.raises(ValueError, match='batch_size=30 cannot be dealt out'):
    pretrain.make_pretraining(unjittered(), config)
