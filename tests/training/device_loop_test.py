"""The loop of a GPU on a CPU: shards, processes, checkpoints, time."""

import dataclasses
import json
import pathlib
import re

import pytest
import torch

from mmdist.heads import prefetch
from mmdist.priors.training import from_scratch
from mmdist.training import device_loop
from mmdist.training import prior_training
from tests.heads import fake_pictures
from tests.training import prior_training_test

options_of = prior_training_test.options_of
_tiny = prior_training_test._tiny
ON_CPU = prior_training._train_on_cpu


@pytest.fixture(autouse=True)
def _this_way(monkeypatch):
  """Takes the way of a GPU wherever one process trains."""
  monkeypatch.setattr(
    prior_training, '_train_on_cpu', prior_training._train_on_device
  )
  monkeypatch.setattr(prefetch, 'default_num_processes', lambda: 1)
  monkeypatch.setattr(device_loop, 'REPORT_EVERY', 2)


def train(options):
  """Trains, and returns what was said and the record."""
  fake_pictures.write_siblings(pathlib.Path(options.data), 60)
  said = []
  prior_training.train_in_processes(options, said.append)
  path = pathlib.Path(options.out) / 'training.json'
  return said, json.loads(path.read_text())


def test_a_prior_is_trained_saved_sampled_and_looked_at(tmp_path):
  fake_pictures.write_shard(tmp_path / 'unseen', 7)
  options = options_of(
    tmp_path,
    num_images=24,
    batch_size=8,
    held_out=str(tmp_path / 'unseen'),
    held_out_minutes=0.0,
  )
  said, record = train(options)
  assert (record['num_seen'], record['step']) == (24, 3)
  assert (tmp_path / 'prior' / 'samples.png').exists()
  assert any(
    re.fullmatch(r'step 2 seen 16 loss \d\.\d+ \d+\.\d images/s', line)
    for line in said
  )
  assert said[-1].startswith('step 3 held out: PSNR of 4 pictures in dB')
  assert sum('held out' in line for line in said) == 1
  # A training that has ended does not begin again.
  assert train(options)[1] == record


@pytest.mark.parametrize('way', ['gpu', 'cpu'])
def test_it_looks_at_what_it_does_not_see_meanwhile(tmp_path, monkeypatch, way):
  if way == 'cpu':
    monkeypatch.setattr(prior_training, '_train_on_cpu', ON_CPU)
  fake_pictures.write_shard(tmp_path / 'unseen', 7)
  options = options_of(
    tmp_path, held_out=str(tmp_path / 'unseen'), held_out_minutes=1e-9
  )
  looks = [line for line in train(options)[0] if 'held out' in line]
  assert [line.split(' held')[0] for line in looks] == [
    'step 1',
    'step 2',
    'step 3',
    'step 3',
  ]


def test_it_goes_on_on_a_cpu_and_comes_back(tmp_path, monkeypatch):
  options = options_of(tmp_path)
  assert train(options)[1]['step'] == 3
  with monkeypatch.context() as on_cpu:
    on_cpu.setattr(prior_training, '_train_on_cpu', ON_CPU)
    longer = dataclasses.replace(options, num_images=20)
    assert train(longer)[1]['step'] == 5
  longest = dataclasses.replace(options, num_images=28)
  assert train(longest)[1]['step'] == 7


def test_a_stopped_training_ends_as_one_that_was_not(tmp_path):
  whole = options_of(tmp_path, num_images=24)
  train(whole)
  parts = dataclasses.replace(whole, out=str(tmp_path / 'parts'))
  # The rate depends on the images in all, but only near the end.
  train(dataclasses.replace(parts, num_images=8))
  train(parts)
  for a, b in zip(
    prior_training_test.weights(whole.out),
    prior_training_test.weights(parts.out),
    strict=True,
  ):
    torch.testing.assert_close(a, b, rtol=0.01, atol=2e-3)


def test_time_is_up_at_the_next_step(tmp_path):
  options = options_of(tmp_path, num_images=10_000, max_minutes=1e-9)
  assert train(options)[1]['step'] == 0


def test_checkpoints_are_written_meanwhile(tmp_path, monkeypatch):
  saved = []
  monkeypatch.setattr(
    prior_training,
    '_save',
    lambda options, pipeline, state, sheet=False: saved.append(
      (state.step, sheet)
    ),
  )
  monkeypatch.setattr(
    from_scratch.Training, '__init__', _saving_always(from_scratch.Training)
  )
  options = options_of(tmp_path)
  fake_pictures.write_siblings(pathlib.Path(options.data), 60)
  prior_training.train_in_processes(options)
  assert saved == [(1, False), (2, False), (3, False), (3, True)]


def _saving_always(kind):
  init = kind.__init__

  def patched(self, **values):
    init(self, save_every_s=-1.0, **values)

  return patched


def test_a_prior_that_does_not_read_words_is_refused(monkeypatch, tmp_path):
  monkeypatch.setattr(
    device_loop.vocabulary, 'has_words_only', lambda tokenizer: False
  )
  with pytest.raises(ValueError, match='has another tokenizer; train it with'):
    train(options_of(tmp_path))
