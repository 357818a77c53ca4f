import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch

from mmdist.heads import sentences
from mmdist.heads import worlds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import sample
from mmdist.priors.training import embedded
from mmdist.priors.training import from_scratch
from mmdist.run import locks
from mmdist.training import prior_sheet
from mmdist.training import prior_training
from tests.heads import fake_pictures
from tests.priors import tiny

PEOPLE = worlds.get('people')

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
  threads = torch.get_num_threads()
  monkeypatch.setattr(
    embedded,
    'make_pipeline',
    functools.partial(
      embedded.make_pipeline, architecture=tiny.ARCHITECTURE, dtype='float32'
    ),
  )
  monkeypatch.setattr(
    sample, 'sample', functools.partial(sample.sample, num_steps=2)
  )
  monkeypatch.setenv('OMP_NUM_THREADS', '1')
  yield
  torch.set_num_threads(threads)


def options_of(folder, **changes):
  for number in (30, 200):
    fake_pictures.write_shard(folder / 'data', number)
  settings = {
    'data': str(folder / 'data'),
    'out': str(folder / 'prior'),
    'num_images': 12,
    'batch_size': 4,
    'num_processes': 1,
    'reading_steps': 0,
    **changes,
  }
  return prior_training.Options(**settings)


def weights(directory):
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  return [w.detach().clone() for w in from_scratch.trainable_weights(pipeline)]


def test_a_prior_is_trained_saved_and_sampled(tmp_path):
  prior_training.train_in_processes(options_of(tmp_path))
  record = json.loads((tmp_path / 'prior' / 'training.json').read_text())
  assert (record['num_seen'], record['step']) == (12, 3)
  assert record['batch_size'] == 4
  assert (tmp_path / 'prior' / 'samples.png').exists()
  assert weights(tmp_path / 'prior')


def test_the_text_encoder_is_taught_to_read_first(tmp_path, monkeypatch):
  # Of few sentences it soon reads a good deal, whatever it begins with.
  known = [PEOPLE.captions.draw(np.random.default_rng(i)) for i in range(4)]
  monkeypatch.setattr(
    sentences.Captions, 'draw', lambda self, rng: known[rng.integers(4)]
  )
  read = []
  for steps in (0, 45):
    options = options_of(
      tmp_path,
      reading_steps=steps,
      num_images=4,
      out=str(tmp_path / f'{steps}'),
    )
    said = []
    prior_training.train_in_processes(options, said.append)
    read.append(float(re.search(r'text encoder: ([0-9.]+)%', said[0])[1]))
  # By 19 points; with other first weights by 7 to 29.
  assert read[1] > read[0] + 5
  said = []
  longer = dataclasses.replace(options, num_images=8)
  prior_training.train_in_processes(longer, said.append)
  assert 'text encoder' not in ''.join(said)  # Once, not again.


def test_the_same_command_goes_on_where_it_stopped(tmp_path):
  whole = options_of(tmp_path, num_images=16)
  prior_training.train_in_processes(whole)
  parts = options_of(tmp_path, num_images=16, out=str(tmp_path / 'parts'))
  half = options_of(tmp_path, num_images=8, out=str(tmp_path / 'parts'))
  # The rate depends on the images in all, but not before it falls.
  prior_training.train_in_processes(half)
  prior_training.train_in_processes(parts)
  record = json.loads((tmp_path / 'parts' / 'training.json').read_text())
  assert record['num_seen'] == 16
  for a, b in zip(weights(whole.out), weights(parts.out), strict=True):
    # The second half of a short training has another learning rate.
    torch.testing.assert_close(a, b, rtol=0.01, atol=2e-3)


def test_a_finished_training_changes_nothing(tmp_path):
  options = options_of(tmp_path)
  prior_training.train_in_processes(options)
  before = weights(options.out)
  prior_training.train_in_processes(options)
  for a, b in zip(before, weights(options.out), strict=True):
    assert torch.equal(a, b)


def test_a_normal_prior_begins_from_a_colour_prior(tmp_path, monkeypatch):
  color = options_of(tmp_path, num_images=4)
  prior_training.train_in_processes(color)
  prompts = []
  monkeypatch.setattr(
    sample,
    'sample',
    lambda pipeline, texts, **_: (
      prompts.extend(texts) or np.zeros((len(texts), 8, 8, 3))
    ),
  )
  normal = dataclasses.replace(
    color,
    init=color.out,
    out=str(tmp_path / 'normal'),
    channel='normal',
    learning_rate=0.0,
  )
  prior_training.train_in_processes(normal)
  assert all(text.startswith('a [w] face map of a') for text in prompts)
  for a, b in zip(weights(color.out), weights(normal.out), strict=True):
    # Rate 0: only the float16 of the files, and it is the same.
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_time_is_up_at_the_next_look(tmp_path):
  said = []
  options = options_of(
    tmp_path, num_images=10_000, batch_size=1, max_minutes=1e-6
  )
  prior_training.train_in_processes(options, said.append)
  record = json.loads((tmp_path / 'prior' / 'training.json').read_text())
  assert record['step'] == 50
  assert said[-1].startswith('step 50 seen 50 loss')


def test_a_resume_in_another_dtype_is_said_once(tmp_path, monkeypatch):
  half = options_of(tmp_path, num_images=4)
  prior_training.train_in_processes(half)
  monkeypatch.setattr(
    embedded,
    'make_pipeline',
    functools.partial(embedded.make_pipeline, dtype='bfloat16'),
  )
  lines = []
  whole = options_of(tmp_path, num_images=8)
  prior_training.train_in_processes(whole, lines.append)
  (line,) = [line for line in lines if line.startswith('warning: ')]
  assert 'was made in float32 and goes on in bfloat16' in line


def test_checkpoints_are_written_meanwhile(tmp_path, monkeypatch):
  saved = []
  monkeypatch.setattr(
    prior_training, '_save', lambda *_, sheet=False: saved.append(sheet)
  )
  monkeypatch.setattr(
    from_scratch,
    'Training',
    functools.partial(from_scratch.Training, save_every_s=-1.0),
  )
  prior_training.train_in_processes(options_of(tmp_path))
  assert saved == [False, False, False, True]


@pytest.mark.parametrize(
  'changes, words',
  [({'data': 'nowhere'}, 'no shards'), ({'init': 'colour'}, "mean 'color'")],
)
def test_missing_files_are_named_before_any_process_starts(
  tmp_path, changes, words
):
  options = options_of(tmp_path, num_processes=2, **changes)
  with pytest.raises(FileNotFoundError, match=words):
    prior_training.train_in_processes(options)


@pytest.mark.slow
def test_two_processes_make_one_prior(tmp_path):
  prior_training.train_in_processes(options_of(tmp_path, num_images=4))
  both = options_of(
    tmp_path,
    num_images=16,
    num_processes=2,
    init=str(tmp_path / 'prior'),  # Tiny: patches do not cross processes.
    out=str(tmp_path / 'both'),
  )
  prior_training.train_in_processes(both)
  record = json.loads((tmp_path / 'both' / 'training.json').read_text())
  assert (record['num_seen'], record['step']) == (16, 2)


def test_a_process_that_fails_is_told_of(tmp_path, monkeypatch):
  def process(target, args):
    del target
    code = 1 if args[0] else 0
    return types.SimpleNamespace(start=list, join=list, exitcode=code)

  context = types.SimpleNamespace(Process=process)
  monkeypatch.setattr('multiprocessing.get_context', lambda method: context)
  options = options_of(tmp_path, num_processes=2)
  with pytest.raises(ValueError, match='ended with code 1'):
    prior_training.train_in_processes(options)


def test_two_do_not_train_in_one_folder(tmp_path):
  options = options_of(tmp_path)
  with locks.locked(options.out, '--out'):
    with pytest.raises(locks.InUse, match='prior is in use by process'):
      prior_training.train_in_processes(options)
  prior_training.train_in_processes(options)
  assert not (tmp_path / 'prior' / locks.LOCK_NAME).exists()


_PARENT = """
import multiprocessing, pathlib, sys, time
from mmdist.training import prior_training

def child(path):
  prior_training.end_with_parent()
  pathlib.Path(path).touch()
  time.sleep(60)

if __name__ == '__main__':
  process = multiprocessing.get_context('fork').Process(
    target=child, args=sys.argv[1:]
  )
  process.start()
  print(process.pid, flush=True)
  process.join()
"""


def test_the_processes_of_a_training_end_with_the_one_that_started_them(
  tmp_path,
):
  begun = tmp_path / 'begun'
  parent = subprocess.Popen(
    [sys.executable, '-c', _PARENT, str(begun)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  with parent:
    child = int(parent.stdout.readline())
    until = time.monotonic() + 20
    while not begun.exists() and time.monotonic() < until:
      time.sleep(0.05)
    parent.kill()  # It cannot say goodbye.
  status = pathlib.Path(f'/proc/{child}/status')
  # A zombie has ended: nobody has asked for its exit code yet.
  while status.exists() and 'zombie' not in status.read_text():
    assert time.monotonic() < until
    time.sleep(0.05)


def test_a_prior_of_people_knows_their_words_and_its_world(tmp_path):
  options = options_of(tmp_path, num_images=4)
  prior_training.train_in_processes(options)
  assert worlds.of_directory(options.out) is PEOPLE
  pipeline = pipelines.open_pipeline(options.out, 'float32', 'cpu')
  known = pipeline.text.readers[0].tokenizer.get_vocab()
  assert {'freckles', 'stubble', 'goatee', 'girl'} <= set(known)
  assert 'child' not in known


def test_a_prior_says_of_which_world_it_is(tmp_path, monkeypatch, mars):
  monkeypatch.setitem(prior_sheet.PROMPTS, 'mars', ('a portrait of a man',))
  for number in (30, 200):
    fake_pictures.write_shard(tmp_path / 'mars', number, world=mars)
  options = options_of(tmp_path, data=str(tmp_path / 'mars'), num_images=4)
  prior_training.train_in_processes(options)
  settings = json.loads((pathlib.Path(options.out) / 'mmdist.json').read_text())
  assert settings['world'] == 'mars'
  # Another prior of that one stays in its world.
  again = dataclasses.replace(
    options, init=options.out, out=str(tmp_path / 'again')
  )
  said = []
  prior_training.train_in_processes(again, said.append)
  assert worlds.of_directory(again.out) is mars
  assert 'text encoder' not in ''.join(said)


def test_a_prior_of_another_world_learns_its_words_first(tmp_path):
  # Also of one that is no more.
  martian = embedded.make_pipeline(['a', 'portrait', 'of'], world='gone')
  pipelines.save_pipeline(martian, tmp_path / 'init')
  options = options_of(
    tmp_path, init=str(tmp_path / 'init'), num_images=4, learning_rate=0.0
  )
  said = []
  prior_training.train_in_processes(options, said.append)
  assert 'text encoder: ' in said[0]
  assert worlds.of_directory(options.out) is PEOPLE
  # A rate of 0: the network is the one that it begins from.
  for a, b in zip(weights(options.init), weights(options.out), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
  # It goes on with the words that it has learned.
  longer = dataclasses.replace(options, num_images=8)
  said.clear()
  prior_training.train_in_processes(longer, said.append)
  assert 'text encoder' not in ''.join(said)


@pytest.mark.parametrize('name', worlds.NAMES)
def test_what_a_prior_is_shown_by_is_in_its_words(name):
  world = worlds.get(name)
  known = set(world.captions.vocabulary()) | {'[w]'}
  for channel in ('rgb', 'normal'):
    texts = prior_sheet.prompts(world, channel)
    assert len(texts) == 16
    for text in texts:
      assert set(text.replace(',', ' , ').split()) <= known, text
      assert world.captions.contradictions(text) == []
