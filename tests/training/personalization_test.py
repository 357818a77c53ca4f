"""A prior of one's own, on tiny weights."""

import dataclasses
import json
import shutil

import numpy as np
from PIL import Image
import pytest

from mmdist.data import concept_images
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.priors import checks
from mmdist.priors import pipeline as pipelines
from mmdist.run import locks
from mmdist.training import personal_pictures
from mmdist.training import personal_training
from mmdist.training import personalization
from tests.priors import tiny
from tests.priors import tiny_checkpoints
from tests.priors import tiny_families

PEOPLE = worlds.get('people')

PROMPT = 'a [v] portrait of a man'


@pytest.fixture(scope='module', name='prior')
def fixture_prior(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior') / 'tiny')


@pytest.fixture(scope='module', name='pictures')
def fixture_pictures(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pictures')
  rng = np.random.default_rng(0)
  for number in range(5):
    pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{number}.png')
  return folder


@pytest.fixture(name='options')
def fixture_options(prior, pictures, tmp_path):
  return personalization.Options(
    kind='photos',
    out=str(tmp_path / 'me'),
    prior=str(prior),
    images=str(pictures),
    prompt=PROMPT,
    num_steps=4,
    batch_size=2,
    learning_rate=1e-3,
    dtype='float32',
    device='cpu',
  )


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
  # Sheets and pictures of the class are of what is trained, however well.
  monkeypatch.setattr(personal_training, '_SAMPLER_STEPS', 2)
  monkeypatch.setattr(personal_training, '_SAMPLES_PER_PROMPT', 1)


def described(options, pictures, tmp_path, text):
  """Returns options of the same pictures, one of them with a text."""
  folder = shutil.copytree(pictures, tmp_path / 'described')
  (folder / '1.txt').write_text(text)
  return dataclasses.replace(options, images=str(folder))


def weights_of(directory):
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  return pipeline.denoiser.state_dict()


def test_what_cannot_be_sampled_is_told_before_it_is_trained(options, tmp_path):
  directory = tiny.write_pipeline(tmp_path / 'epsilon', 'epsilon')
  path = directory / 'scheduler' / 'scheduler_config.json'
  changed = json.loads(path.read_text()) | {'rescale_betas_zero_snr': True}
  path.write_text(json.dumps(changed))
  with pytest.raises(ValueError, match='no picture can be sampled'):
    personalization.train(dataclasses.replace(options, prior=str(directory)))
  assert not (tmp_path / 'me').exists()


def test_a_checkpoint_in_one_file_may_be_what_it_starts_from(options, tmp_path):
  directory, file, base = tiny_checkpoints.write('sd1', tmp_path / 'single')
  options = dataclasses.replace(
    options, prior=str(file), base=str(base), prompt='a man', num_steps=1
  )
  out = personalization.train(options)
  checks.check_prior(out, ['a man'])
  before, after = weights_of(directory), weights_of(out)
  assert before.keys() == after.keys()
  assert any((before[name] != after[name]).any() for name in before)


def test_pictures_become_a_prior_that_opens(options, prior, tmp_path):
  out = personalization.train(options)
  assert out == tmp_path / 'me'
  checks.check_prior(out, [PROMPT])
  before, after = weights_of(prior), weights_of(out)
  assert any((before[name] != after[name]).any() for name in before)
  for name in ('before.png', 'after.png', 'pictures.png', 'report.html'):
    assert (out / name).stat().st_size > 0
  card = (out / 'README.md').read_text()
  assert '5 pictures of one subject' in card and PROMPT in card
  assert 'sha256' in card and str(tmp_path) not in card
  assert len((out / 'losses.csv').read_text().splitlines()) == 5
  assert not (tmp_path / 'me.training').exists()
  said = []
  assert personalization.train(options, said.append) == out
  assert said == [f'{out} is finished; give another --out for another prior.']


def test_an_interrupted_one_goes_on_to_the_same_weights(options, tmp_path):
  personalization.train(options)
  other = dataclasses.replace(
    options, out=str(tmp_path / 'again'), max_minutes=1e-9
  )
  for _ in range(3):
    personalization.train(other)
    assert not (tmp_path / 'again').exists()  # Nothing that looks whole.
    assert (tmp_path / 'again.training').is_dir()
  personalization.train(dataclasses.replace(other, max_minutes=0.0))
  once, in_parts = (weights_of(tmp_path / n) for n in ('me', 'again'))
  for name, weight in once.items():
    np.testing.assert_array_equal(weight, in_parts[name])


def test_another_setting_does_not_go_on(options, tmp_path):
  stopped = dataclasses.replace(options, max_minutes=1e-9)
  personalization.train(stopped)
  with pytest.raises(ValueError, match='another learning_rate; give the same'):
    personalization.train(dataclasses.replace(stopped, learning_rate=2e-3))
  path = tmp_path / 'me.training' / personal_training.CHECKPOINT
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(ValueError, match='is damaged.*delete it to start over'):
    personalization.train(stopped)


def test_a_lora_is_merged_and_kept_alone(options, prior, tmp_path):
  personalization.train(dataclasses.replace(options, lora_rank=2))
  out = tmp_path / 'me'
  (lora,) = (out / 'lora').glob('*.safetensors')
  # The base with that file is the merged prior, up to float16 on disk.
  merged = pipelines.open_pipeline(out, 'float32', 'cpu').denoiser
  own = pipelines.open_pipeline(prior, 'float32', 'cpu').denoiser
  own.load_lora_adapter(
    str(out / 'lora'),
    weight_name=lora.name,
    prefix=None,
    use_safetensors=True,
    adapter_name='x',
  )
  own.fuse_lora(adapter_names=['x'])
  own.unload_lora()
  for name, weight in own.state_dict().items():
    np.testing.assert_allclose(merged.state_dict()[name], weight, atol=2e-3)


def test_the_class_is_preserved_from_samples_of_the_prior(options, tmp_path):
  of_class = dataclasses.replace(
    options, class_prompt=('a man', ''), num_class_images=3
  )
  personalization.train(of_class)
  card = (tmp_path / 'me' / 'README.md').read_text()
  assert '3 samples of "a man", "", weight 1.' in card


def test_what_is_written_beside_a_picture_follows_the_prompt(
  options, pictures, monkeypatch, tmp_path
):
  options = described(options, pictures, tmp_path, 'happy')
  seen = set()
  draw = concept_images.ConceptStream.draw

  def listen(self, number):
    images, prompts = draw(self, number)
    seen.update(prompts)
    return images, prompts

  monkeypatch.setattr(concept_images.ConceptStream, 'draw', listen)
  personalization.train(options)
  assert seen == {PROMPT, f'{PROMPT} , happy'}


def test_another_class_gets_pictures_of_its_own(options, tmp_path):
  stopped = dataclasses.replace(
    options, class_prompt=('a man',), num_class_images=2, max_minutes=1e-9
  )
  personalization.train(stopped)
  work = tmp_path / 'me.training'
  (work / personal_training.CHECKPOINT).unlink()
  personalization.train(dataclasses.replace(stopped, class_prompt=('a woman',)))
  one, other = (np.load(path) for path in work.glob('class-*.npy'))
  assert (one != other).any()


def test_samples_of_another_command_are_not_kept(options, tmp_path):
  stopped = dataclasses.replace(options, max_minutes=1e-9)
  personalization.train(stopped)
  work = tmp_path / 'me.training'
  before = (work / 'before.png').read_bytes()
  # It was broken off before its first checkpoint, with one sheet written.
  (work / personal_training.CHECKPOINT).unlink()
  (work / 'pictures.png').unlink()
  other = dataclasses.replace(options, prompt='a [v] portrait of a woman')
  out = personalization.train(other)
  assert (out / 'pictures.png').stat().st_size > 0
  assert (out / 'before.png').read_bytes() != before


@pytest.mark.parametrize('family', ['sd1', 'sdxl', 'if', 'sd3'])
def test_every_family_is_personalised(options, family, tmp_path):
  directory = tiny_families.write(family, tmp_path / 'source')
  personalization.train(
    dataclasses.replace(
      options, prior=str(directory), prompt='a sks man', num_steps=2
    )
  )
  out = tmp_path / 'me'
  checks.check_prior(out, ['a sks man'])
  assert weights_of(out)
  index = json.loads((out / 'model_index.json').read_text())
  source = json.loads((directory / 'model_index.json').read_text())
  assert index['_class_name'] == source['_class_name']
  # Found finished, whether its network is a UNet or a transformer.
  assert personalization.train(options) == out


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'prompt': 'a portrait of a man'}, 'has no identifier token; expected on'),
    ({'prompt': 'a [x] portrait of a man'}, "unknown words: '[x]'"),
    ({'prompt': ''}, 'expected --prompt with the identifier token'),
    ({'images': ''}, 'expected --images=FOLDER'),
    ({'kind': 'avatar'}, 'expected --subject'),
    ({'class_prompt': ('a [x] man',)}, "unknown words: '[x]'"),
    ({'prior': 'colour'}, "did you mean 'color'"),
  ],
)
def test_mistakes_are_told_before_a_weight_is_loaded(
  options, changes, words, tmp_path, monkeypatch
):
  def refuse(*_, **__):
    raise AssertionError('a weight was loaded')

  monkeypatch.setattr(pipelines, 'open_pipeline', refuse)
  with pytest.raises((ValueError, FileNotFoundError)) as caught:
    personalization.train(dataclasses.replace(options, **changes))
  assert words in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_a_text_beside_a_picture_has_words_that_the_prior_knows(
  options, pictures, tmp_path
):
  options = described(options, pictures, tmp_path, 'with a spoiler')
  with pytest.raises(ValueError, match="unknown words: 'spoiler'"):
    personalization.train(options)
  assert not (tmp_path / 'me').exists()


def test_one_picture_is_too_few(options, pictures, tmp_path):
  folder = tmp_path / 'one'
  folder.mkdir()
  shutil.copy(pictures / '0.png', folder)
  with pytest.raises(ValueError, match='has 1 picture'):
    personalization.train(dataclasses.replace(options, images=str(folder)))


SIZE = 32


def test_a_procedural_head_is_rendered_from_three_orbits(monkeypatch):
  render_heads, asked, made = subjects.render_heads, [], []

  def render_once(world, people, views, size):
    asked.append(([head.attributes for head in people], views, size))
    made.extend(made or [render_heads(world, people, views, size)])
    return made[0]

  monkeypatch.setattr(subjects, 'render_heads', render_once)
  views = personal_pictures.render_views()
  assert len(views) == 60
  normals = personal_pictures.render(PEOPLE, '3:1', SIZE, normals=True)
  colours = personal_pictures.render(PEOPLE, '3:1', SIZE, normals=False)
  # The second time, the same was asked for.
  np.testing.assert_equal(
    *((people, vars(views), size) for people, views, size in asked)
  )
  for pictures in (normals, colours):
    assert pictures.shape == (60, SIZE, SIZE, 4) and pictures.dtype == np.uint8
  assert np.all(normals[..., 3] == 255)
  assert np.all(normals[0, 0, 0, :3] == 128)  # Mid-grey beside the head.
  truth = render_heads(
    PEOPLE,
    [subjects.sample_head(PEOPLE, 3, 1)],
    views.take(np.array([7])),
    SIZE,
  )
  shown = colours[7, ..., :3] / 255 * colours[7, ..., 3:] / 255
  np.testing.assert_allclose(shown, truth.rgba[0, ..., :3], atol=0.01)


def test_two_do_not_train_in_one_folder(options, tmp_path):
  with locks.locked(tmp_path / 'me.training', '--out'):
    with pytest.raises(locks.InUse, match='me.training is in use by process'):
      personalization.train(options)


def test_one_that_ended_meanwhile_is_not_trained_again(
  options, tmp_path, monkeypatch
):
  locked = locks.locked

  def ended_first(*words):
    (tmp_path / 'me').mkdir()
    for name in ('README.md', 'model_index.json'):
      (tmp_path / 'me' / name).touch()
    return locked(*words)

  monkeypatch.setattr(locks, 'locked', ended_first)
  assert personalization.train(options) == tmp_path / 'me'
  assert not (tmp_path / 'me.training').exists()
