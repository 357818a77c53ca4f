"""Noise levels and conversions, against diffusers' own schedulers."""

import diffusers
import hypothesis
from hypothesis import strategies
import numpy as np
import pytest
import torch

from mmdist.core import errors
from mmdist.core import messages
from mmdist.priors import schedule as schedules

NUM_VIEWS = 5


def _schedule(prediction_type='epsilon'):
  if prediction_type == 'flow':
    return schedules.schedule_from_config(
      {'_class_name': 'FlowMatchEulerDiscreteScheduler', 'shift': 3.0}
    )
  return schedules.schedule_from_config(
    {
      '_class_name': 'PNDMScheduler',
      'beta_start': 0.00085,
      'beta_end': 0.012,
      'beta_schedule': 'scaled_linear',
      'prediction_type': prediction_type,
      'skip_prk_steps': True,  # PNDM's own word; must not be in the way.
    }
  )


def _batch(t):
  generator = torch.Generator().manual_seed(0)
  shape = (NUM_VIEWS, 4, 6, 6)
  latents = torch.randn(shape, generator=generator)
  noise = torch.randn(shape, generator=generator)
  timestep = schedules.t_to_timestep(_schedule(), t)
  return latents, noise, timestep


def test_noise_and_targets_are_those_of_diffusers():
  schedule = _schedule()
  latents, noise, timestep = _batch(np.linspace(0, 1, NUM_VIEWS))
  a, s = schedules.coefficients(schedule, timestep)
  oracle = diffusers.DDPMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear'
  )
  # Both round the same float32 products; a last bit may differ.
  torch.testing.assert_close(
    schedules.add_noise(latents, noise, a, s),
    oracle.add_noise(latents, noise, timestep),
    rtol=1e-6,
    atol=1e-6,
  )
  torch.testing.assert_close(
    schedules.training_target(latents, noise, a, s, 'v_prediction'),
    oracle.get_velocity(latents, noise, timestep),
    rtol=1e-6,
    atol=1e-6,
  )


@pytest.mark.parametrize('prediction_type', schedules.PREDICTION_TYPES)
def test_a_perfect_prediction_gives_back_noise_and_image(prediction_type):
  latents, noise, timestep = _batch(np.linspace(0.02, 0.98, NUM_VIEWS))
  a, s = schedules.coefficients(_schedule(prediction_type), timestep)
  noisy = schedules.add_noise(latents, noise, a, s)
  target = schedules.training_target(latents, noise, a, s, prediction_type)
  # Dividing by a (0.07 at least) or s (0.03) grows float32's 1e-7 to 1e-5.
  torch.testing.assert_close(
    schedules.noise_pred_to_eps(target, noisy, a, s, prediction_type),
    noise,
    rtol=0,
    atol=3e-5,
  )
  torch.testing.assert_close(
    schedules.noise_pred_to_x0(target, noisy, a, s, prediction_type),
    latents,
    rtol=0,
    atol=3e-5,
  )


def test_a_flow_is_the_one_diffusers_noises_and_steps_with():
  schedule = _schedule('flow')
  oracle = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
  # Up to the last timestep, where `LEAST_LEVEL` of the image is left.
  latents, noise, timestep = _batch(np.linspace(0, 0.999, NUM_VIEWS))
  a, s = schedules.coefficients(schedule, timestep)
  noisy = schedules.add_noise(latents, noise, a, s)
  times = schedule.times[timestep]
  torch.testing.assert_close(  # s^3 rounds once more on the way there.
    noisy, oracle.scale_noise(latents, times, noise), rtol=1e-6, atol=1e-6
  )
  assert torch.all(schedule.times.diff() > 0)
  # One Euler step to the end, with the velocity known, is the image itself.
  velocity = schedules.training_target(latents, noise, a, s, 'flow')
  torch.testing.assert_close(
    schedules.noise_pred_to_x0(velocity, noisy, a, s, 'flow'),
    latents,
    rtol=0,
    atol=1e-6,
  )


def test_the_x0_conversion_is_the_one_diffusers_steps_with():
  latents, noise, timestep = _batch(np.full(NUM_VIEWS, 0.5))
  noise_pred = torch.randn(latents.shape, generator=torch.Generator())
  for prediction_type in schedules.BETA_PREDICTION_TYPES:
    oracle = diffusers.DDIMScheduler(
      beta_start=0.00085,
      beta_end=0.012,
      beta_schedule='scaled_linear',
      prediction_type=prediction_type,
      clip_sample=False,
    )
    oracle.set_timesteps(10)
    a, s = schedules.coefficients(_schedule(), timestep)
    noisy = schedules.add_noise(latents, noise, a, s)
    expected = oracle.step(noise_pred, int(timestep[0]), noisy)
    torch.testing.assert_close(
      schedules.noise_pred_to_x0(noise_pred, noisy, a, s, prediction_type),
      expected.pred_original_sample,
      rtol=1e-5,  # The same float32 formula, in another order.
      atol=1e-5,
    )


@hypothesis.given(strategies.floats(0, 1))
def test_timesteps_stay_in_range_and_lie_nearest(t):
  (timestep,) = schedules.t_to_timestep(_schedule(), [t]).tolist()
  assert 0 <= timestep <= 999
  assert abs(timestep - t * 999) <= 0.5


def test_x0_weighting_turns_a_residual_of_eps_into_one_of_x0():
  # w0 (x0_proxy - x0_base) = w0 s/a (eps_base - eps_proxy).
  latents, noise, timestep = _batch(np.linspace(0.1, 0.8, NUM_VIEWS))
  a, s = schedules.coefficients(_schedule(), timestep)
  noisy = schedules.add_noise(latents, noise, a, s)
  base, proxy = noise, noise + 0.1 * latents
  x0 = [
    schedules.noise_pred_to_x0(eps, noisy, a, s, 'epsilon')
    for eps in (base, proxy)
  ]
  residual = schedules.WEIGHTINGS['x0'](a, s) * (base - proxy)
  torch.testing.assert_close(residual, x0[1] - x0[0], rtol=0, atol=1e-5)


def test_every_weighting_that_may_be_configured_exists():
  assert set(schedules.WEIGHTINGS) == set(messages.WEIGHTINGS)


def test_weightings_are_finite_over_the_usual_noise_levels():
  timestep = schedules.t_to_timestep(_schedule(), np.linspace(0.02, 0.98, 50))
  a, s = schedules.coefficients(_schedule(), timestep)
  for name, weighting in schedules.WEIGHTINGS.items():
    weight = weighting(a, s)
    assert weight.isfinite().all() and (weight > 0).all(), name
    assert weight.shape == (50, 1, 1, 1)
  fantasia = schedules.WEIGHTINGS['fantasia'](a, s)
  torch.testing.assert_close(fantasia, a * (1 - a**2), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
  'config',
  [
    {
      '_class_name': 'FlowMatchEulerDiscreteScheduler',
      'use_dynamic_shifting': True,
    },
    {'_class_name': 'FlowMatchHeunDiscreteScheduler'},
    {'_class_name': 'EDMEulerScheduler'},
    {'_class_name': 'NoScheduler'},
    {'_class_name': 'DDPMScheduler', 'prediction_type': 'flow'},
  ],
)
def test_a_scheduler_without_betas_is_refused(config):
  with pytest.raises(ValueError, match=f'{config["_class_name"]}.*expected'):
    schedules.schedule_from_config(config)


def _zero_snr(prediction_type):
  if prediction_type == 'flow':
    return _schedule('flow')
  return schedules.schedule_from_config(
    {
      '_class_name': 'DDIMScheduler',
      'beta_start': 0.00085,
      'beta_end': 0.012,
      'beta_schedule': 'scaled_linear',
      'prediction_type': prediction_type,
      'rescale_betas_zero_snr': True,
    }
  )


@pytest.mark.parametrize('weighting', schedules.WEIGHTINGS)
@pytest.mark.parametrize('kind', ['v_prediction', 'sample', 'flow'])
def test_pure_noise_has_the_residual_of_its_limit(kind, weighting):
  """w(t) times a difference of eps, written without a division by alpha_t."""
  schedule = _zero_snr(kind)
  assert schedule.ends_in_noise
  a, s = schedules.coefficients(schedule, torch.full((NUM_VIEWS,), 999))
  latents, noise, _ = _batch(np.ones(NUM_VIEWS))
  noisy = schedules.add_noise(latents, noise, a, s)
  base, proxy = noise.flip(0), latents.flip(1)  # Any two predictions.
  eps = [
    schedules.noise_pred_to_eps(p, noisy, a, s, kind) for p in (base, proxy)
  ]
  residual = schedules.WEIGHTINGS[weighting](a, s) * (eps[0] - eps[1])
  # In the limit of alpha_t = 0 and sigma_t = 1.
  moved = (proxy - base) if kind == 'sample' else (base - proxy)
  expected = moved if weighting == 'x0' else torch.zeros_like(moved)
  # alpha_t is 2^-12 there; float32 rounds 1e-7 of noise that it divides by.
  torch.testing.assert_close(residual, expected, rtol=1e-3, atol=3e-3)
  # And with the noise itself as the reference, as SDS has it.
  sds = schedules.WEIGHTINGS[weighting](a, s) * (eps[0] - noise)
  x0 = schedules.noise_pred_to_x0(base, noisy, a, s, kind)
  expected = latents - x0 if weighting == 'x0' else expected * 0
  torch.testing.assert_close(sds, expected, rtol=1e-3, atol=3e-3)


def test_a_schedule_that_begins_with_a_clean_image_stays_finite():
  schedule = schedules.schedule_from_config(
    {
      '_class_name': 'DDPMScheduler',
      'trained_betas': [0.0, 0.5, 1.0],
      'num_train_timesteps': 3,
      'prediction_type': 'sample',
    }
  )
  latents, noise, _ = _batch(np.zeros(NUM_VIEWS))
  for timestep in range(3):
    at = torch.full((NUM_VIEWS,), timestep)
    a, s = schedules.coefficients(schedule, at)
    noisy = schedules.add_noise(latents, noise, a, s)
    eps = schedules.noise_pred_to_eps(latents, noisy, a, s, 'sample')
    torch.testing.assert_close(eps, noise, rtol=0, atol=3e-3)


def test_epsilon_in_pure_noise_is_refused_where_it_says_nothing():
  schedule = _zero_snr('epsilon')
  with pytest.raises(ValueError, match='rescale_betas_zero_snr'):
    schedules.check_can_sample(schedule)
  with pytest.raises(ValueError, match='weighting is x0.*zero terminal SNR'):
    schedules.check_weighting(schedule, 'x0')
  schedules.check_weighting(schedule, 'sigma2')
  for fine in (_schedule(), _zero_snr('v_prediction'), _zero_snr('flow')):
    schedules.check_can_sample(fine)
    schedules.check_weighting(fine, 'x0')


@pytest.mark.parametrize('name', ['squaredcos_cap_v2', 'scaled_linear'])
def test_levels_that_are_not_zero_stay_as_they_are(name):
  schedule = schedules.schedule_from_config(
    {'_class_name': 'DDPMScheduler', 'beta_schedule': name}
  )
  oracle = diffusers.DDPMScheduler(beta_schedule=name).alphas_cumprod
  assert torch.equal(schedule.signal, oracle.sqrt())
  assert not schedule.ends_in_noise


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'beta_schedule': 'curly'}, 'cannot be read from its config: curly'),
    ({'beta_start': 'small'}, 'cannot be read from its config'),
    ({'num_train_timesteps': None}, 'cannot be read from its config'),
    ({'trained_betas': [0.1, 3.0]}, 'expected betas in'),
    (
      {'_class_name': 'CogVideoXDDIMScheduler', 'snr_shift_scale': 3.0},
      'snr_shift_scale=3.0',
    ),
  ],
)
def test_noise_levels_that_cannot_be_read_are_one_line(fields, words):
  with pytest.raises(errors.UserError, match=words) as caught:
    schedules.schedule_from_config({'_class_name': 'DDPMScheduler'} | fields)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['LCMScheduler', 'DDIMScheduler'])
def test_where_a_config_is_silent_its_own_class_speaks(name):
  schedule = schedules.schedule_from_config({'_class_name': name})
  oracle = getattr(diffusers, name)().alphas_cumprod
  assert torch.equal(schedule.signal, oracle.sqrt())
