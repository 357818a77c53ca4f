"""Fine-tuning: what moves, what is kept, and that it learns."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors.training import dreambooth
from tests.priors import tiny

TUNING = dreambooth.FineTuning(num_steps=3, learning_rate=1e-3)


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('dreambooth'))


def _open(directory):
  return pipelines.open_pipeline(directory, device='cpu', train=True)


def _batches(size=4):
  images = np.full((size, 16, 16, 3), (0.9, 0.2, 0.4), np.float32)
  return itertools.repeat((images, ['a [w] portrait of a man'] * size))


def _weights(module):
  return {n: w.detach().clone() for n, w in module.named_parameters()}


def _moved(module, before):
  return {
    name
    for name, weight in module.named_parameters()
    if not torch.equal(weight, before[name])
  }


def test_the_loss_falls(directory):
  tuning = dreambooth.FineTuning(num_steps=40, learning_rate=3e-3)
  losses = dreambooth.finetune(_open(directory), _batches(), tuning)
  # About 0.7 whatever the first weights are.
  assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


@pytest.mark.parametrize('train_text_encoder', [False, True])
def test_the_text_encoder_moves_only_when_asked(directory, train_text_encoder):
  pipeline = _open(directory)
  unet, encoder = pipeline.denoiser, pipeline.text.modules[0]
  before = _weights(unet), _weights(encoder)
  prompt_embeds = pipeline.text.encode(['a man']).sequence
  tuning = dataclasses.replace(TUNING, train_text_encoder=train_text_encoder)
  dreambooth.finetune(pipeline, _batches(), tuning)
  assert _moved(unet, before[0])
  assert bool(_moved(encoder, before[1])) == train_text_encoder
  # The memory of texts is emptied.
  assert torch.equal(
    pipeline.text.encode(['a man']).sequence, prompt_embeds
  ) != (train_text_encoder)


@pytest.mark.parametrize(('emphasis', 'share'), [(1.0, 0.1), (1.5, 0.215)])
def test_how_much_is_nearly_noise(directory, monkeypatch, emphasis, share):
  # P(t > 0.9) = 0.1^(1 / emphasis), to within one of the 64 strata.
  seen = []
  real = dreambooth.schedules.t_to_timestep

  def spy(schedule, t):
    seen.append(t)
    return real(schedule, t)

  monkeypatch.setattr(dreambooth.schedules, 't_to_timestep', spy)
  tuning = dataclasses.replace(TUNING, noise_emphasis=emphasis)
  with torch.no_grad():
    dreambooth.training_loss(
      _open(directory), next(_batches(size=64)), tuning, 0
    )
  assert np.mean(seen[0] > 0.9) == pytest.approx(share, abs=1 / 64)
  assert 0 <= seen[0].min() and seen[0].max() <= 1


def test_everything_is_frozen_again(directory):
  pipeline = _open(directory)
  tuning = dataclasses.replace(TUNING, train_text_encoder=True)
  dreambooth.finetune(pipeline, _batches(), tuning)
  for module in (pipeline.denoiser, pipeline.text.modules[0]):
    assert not module.training
    assert not any(w.requires_grad for w in module.parameters())


def test_the_seed_decides_everything(directory):
  results = []
  for global_seed in (0, 1):
    torch.manual_seed(global_seed)
    pipeline = _open(directory)
    tuning = dataclasses.replace(TUNING, empty_text_share=0.5)
    losses = dreambooth.finetune(pipeline, _batches(), tuning)
    results.append((losses, _weights(pipeline.denoiser)))
  assert results[0][0] == results[1][0]
  for name, weight in results[0][1].items():
    assert torch.equal(weight, results[1][1][name])


def test_the_average_moves_less_than_the_last(directory):
  distances = []
  for ema in (0.0, 0.9):
    pipeline = _open(directory)
    before = _weights(pipeline.denoiser)
    tuning = dataclasses.replace(TUNING, ema=ema, num_steps=6)
    dreambooth.finetune(pipeline, _batches(), tuning)
    distances.append(
      sum(
        (weight - before[name]).square().sum()
        for name, weight in _weights(pipeline.denoiser).items()
      )
    )
  assert 0 < distances[1] < distances[0]


def test_a_decaying_rate_ends_near_a_tenth():
  tuning = dataclasses.replace(TUNING, decay=True, num_steps=100)
  rates = [dreambooth._learning_rate(tuning, step) for step in (0, 50, 99)]
  assert rates == pytest.approx([1e-3, 5.5e-4, 1.09e-4])


def test_steps_are_reported(directory):
  seen = []
  losses = dreambooth.finetune(
    _open(directory), _batches(), TUNING, lambda *args: seen.append(args)
  )
  assert seen == list(enumerate(losses))


def test_too_few_batches_are_refused(directory):
  batches = itertools.islice(_batches(), 2)
  with pytest.raises(ValueError, match='2 batches for 3 steps'):
    dreambooth.finetune(_open(directory), batches, TUNING)


def test_half_precision_weights_are_refused(directory):
  pipeline = pipelines.open_pipeline(directory, 'bfloat16', 'cpu')
  with pytest.raises(ValueError, match='open the pipeline with train=True'):
    dreambooth.finetune(pipeline, _batches(), TUNING)


def test_a_loss_that_is_not_finite_stops(directory):
  images = np.full((1, 16, 16, 3), np.nan, np.float32)
  with pytest.raises(FloatingPointError, match='step 0 has a loss of nan'):
    dreambooth.finetune(
      _open(directory), itertools.repeat((images, ['a man'])), TUNING
    )


def test_a_gradient_that_is_not_finite_moves_nothing(directory, monkeypatch):
  pipeline = _open(directory)
  before = _weights(pipeline.denoiser)
  tuner = dreambooth.FineTuner(pipeline, TUNING)

  def infinitely_steep(*_):
    weights = pipeline.denoiser.parameters()
    return sum((w - w.detach()).abs().sqrt().sum() for w in weights)

  with monkeypatch.context() as patch:
    patch.setattr(dreambooth, 'training_loss', infinitely_steep)
    with pytest.raises(FloatingPointError, match='step 0 has a gradient that'):
      tuner.descend(next(_batches()))
  assert not _moved(pipeline.denoiser, before) and tuner.step == 0
  assert np.isfinite(tuner.descend(next(_batches())))


def test_a_family_shares_its_noise_and_empty_texts(directory, monkeypatch):
  pipeline, seen = _open(directory), {}
  encode, predict = pipeline.text.encode_afresh, pipelines.predict

  def encode_afresh(texts):
    seen['texts'] = list(texts)
    return encode(texts)

  def spy(pipeline, noisy, timestep, prompt_embeds):
    seen['noisy'], seen['timestep'] = noisy, timestep
    return predict(pipeline, noisy, timestep, prompt_embeds)

  monkeypatch.setattr(pipeline.text, 'encode_afresh', encode_afresh)
  monkeypatch.setattr(pipelines, 'predict', spy)
  images, texts = next(_batches(8))
  families = np.array([4, 4, 4, 9, 9, 1, 2, 3])
  tuning = dataclasses.replace(TUNING, empty_text_share=0.5)
  dreambooth.training_loss(pipeline, (images, texts, families), tuning, 0)
  same = [
    [
      torch.equal(a, b) and bool(s == t)
      for b, t in zip(seen['noisy'], seen['timestep'], strict=True)
    ]
    for a, s in zip(seen['noisy'], seen['timestep'], strict=True)
  ]
  np.testing.assert_array_equal(same, families[:, None] == families)
  assert 0 < seen['texts'].count('') < 8
  for family in (4, 9):
    rows = np.flatnonzero(families == family)
    assert len({seen['texts'][i] for i in rows}) == 1


@pytest.mark.parametrize('emphasis', [0.0, 8.0])
def test_pixels_that_differ_within_a_family_count_more(
  directory, monkeypatch, emphasis
):
  images = np.full((3, 16, 16, 3), 0.5, np.float32)
  images[0, 4:6, 6:8] = 1.0  # One of the 64 pixels of a latent.
  asked = np.zeros((8, 8), np.float32)

  def error_at(*args):
    return torch.from_numpy(asked).expand(3, 12, 8, 8)

  monkeypatch.setattr(
    pipelines, 'predict', lambda p, noisy, *rest: torch.zeros_like(noisy)
  )
  monkeypatch.setattr(dreambooth.schedules, 'training_target', error_at)
  batch = (images, ['a man'] * 3, np.array([0, 0, 1]))
  tuning = dataclasses.replace(TUNING, family_emphasis=emphasis)
  found = []
  for row, column in ((2, 3), (0, 0)):
    asked[:] = 0
    asked[row, column] = 1.0
    loss = dreambooth.training_loss(_open(directory), batch, tuning, 0)
    found.append(64 * 3 * loss.item())
  # Two pictures of the family, one on its own; weights have mean 1.
  mean = 1 + emphasis / 64
  expected = [2 * (1 + emphasis) / mean + 1, 2 / mean + 1]
  assert found == pytest.approx(expected, rel=1e-5)


def test_a_restored_tuner_goes_on_bit_for_bit(directory):
  tuning = dataclasses.replace(TUNING, num_steps=6, ema=0.9)
  once = dreambooth.FineTuner(_open(directory), tuning)
  for batch in itertools.islice(_batches(), 6):
    once.descend(batch)
  first = dreambooth.FineTuner(_open(directory), tuning)
  for batch in itertools.islice(_batches(), 2):
    first.descend(batch)
  saved = {name: tensor.clone() for name, tensor in first.save().items()}
  second = dreambooth.FineTuner(_open(directory), tuning)
  second.restore(saved)
  assert second.step == 2
  for batch in itertools.islice(_batches(), 4):
    second.descend(batch)
  expected, got = once.save(), second.save()
  assert expected.keys() == got.keys()
  for name, tensor in expected.items():
    assert torch.equal(tensor, got[name]), name


def test_a_tuner_of_another_rank_is_not_restored(directory):
  state = dreambooth.FineTuner(_open(directory), TUNING).save()
  tuning = dataclasses.replace(TUNING, lora_rank=2)
  with pytest.raises(ValueError, match='of another model, or of another rank'):
    dreambooth.FineTuner(_open(directory), tuning).restore(state)


def test_with_a_rank_only_the_lora_moves(directory):
  pipeline = _open(directory)
  before = _weights(pipeline.denoiser)
  tuner = dreambooth.FineTuner(
    pipeline, dataclasses.replace(TUNING, lora_rank=2)
  )
  tuner.descend(next(_batches()))
  for name, weight in _weights(pipeline.denoiser).items():
    name = name.replace('.base_layer', '')
    if name in before:
      assert torch.equal(weight, before[name])
  assert any(
    'lora_B' in name and tensor.any() for name, tensor in tuner.save().items()
  )


def test_the_class_counts_by_its_weight(directory):
  pipeline = _open(directory)
  images, prompts = next(_batches())
  rng = np.random.default_rng(0)
  images = np.concatenate([images, rng.random(images.shape, np.float32)])
  batch = (images, [*prompts, *['a man'] * len(prompts)])

  def loss(weight):
    tuning = dataclasses.replace(TUNING, class_weight=weight)
    with torch.no_grad():
      return dreambooth.training_loss(pipeline, batch, tuning, 0).item()

  # own + w * class, so equal steps of w are equal steps of the loss.
  assert loss(2.0) - loss(1.0) == pytest.approx(loss(3.0) - loss(2.0), rel=1e-4)
  plain = dreambooth.training_loss(pipeline, batch, TUNING, 0).item()
  assert loss(1.0) == pytest.approx(2 * plain, rel=1e-5)
