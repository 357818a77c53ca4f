import json
import subprocess
import sys

import numpy as np
import pytest

from mmdist.core import asset_paths
from mmdist.heads import batches as head_batches
from mmdist.heads import folders
from mmdist.heads import prefetch
from mmdist.heads import shards as head_shards
from mmdist.heads import subjects
from mmdist.heads import worlds
from tests.heads import fake_pictures

CLAY, PEOPLE = worlds.get('clay'), worlds.get('people')


@pytest.fixture(name='world', params=worlds.NAMES)
def fixture_world(request):
  return worlds.get(request.param)


def test_a_world_is_known_by_its_name(world):
  assert worlds.get(world.name) is world
  assert worlds.DEFAULT in worlds.NAMES


def test_an_unknown_world_names_the_nearest():
  with pytest.raises(ValueError, match="is 'poeple'; did you mean 'people'"):
    worlds.get('poeple')


def test_all_of_a_world_is_about_the_same_heads(world):
  traits = world.attributes
  assert world.captions.wording.traits is traits
  assert world.questions.traits is world.siblings.traits is traits
  assert set(world.questions.geometry) <= set(world.questions.visible_from)
  assert set(world.questions.visible_from) - {'view'} <= set(traits.choices)


def test_a_head_depends_on_seed_and_index_alone(world):
  one, again, other = (
    subjects.sample_head(world, 1, index) for index in (5, 5, 6)
  )
  assert one.attributes == again.attributes != other.attributes
  for name, value in one.parameters.items():
    np.testing.assert_array_equal(value, again.parameters[name])


def test_files_without_a_world_are_of_clay():
  assert worlds.recorded({}) is CLAY
  assert worlds.recorded({'world': 'people'}) is PEOPLE
  with pytest.raises(ValueError, match="world is 'pluto'"):
    worlds.recorded({'world': 'pluto'})


@pytest.mark.parametrize(
  'text, found',
  [
    ('{"image_size": 64}', CLAY),
    ('{"world": "people"}', PEOPLE),
    ('{', None),
    (None, None),
  ],
)
def test_a_prior_of_another_origin_has_no_world(tmp_path, text, found):
  if text is not None:
    (tmp_path / 'mmdist.json').write_text(text)
  assert worlds.of_directory(tmp_path) is found


def test_a_prior_of_a_world_that_is_no_more_still_says_its_name(tmp_path):
  (tmp_path / 'mmdist.json').write_text('{"world": "gone"}')
  assert worlds.name_in_directory(tmp_path) == 'gone'
  with pytest.raises(ValueError, match="world is 'gone'"):
    worlds.of_directory(tmp_path)


def test_the_shipped_priors_know_clay():
  for name in ('color', 'normal'):
    assert worlds.of_directory(asset_paths.resolve(name)) is CLAY


def test_whoever_draws_words_needs_neither_jax_nor_torch():
  code = (
    'import sys; from mmdist.heads import folders, shards, subjects, worlds; '
    '[subjects.sample_head(worlds.get(n), 0, 0) for n in worlds.NAMES]; '
    "sys.exit(bool({'jax', 'torch', 'flax'} & set(sys.modules)))"
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_a_shard_says_of_which_world_it_is(tmp_path, world):
  fake_pictures.write_shard(tmp_path, 1, world=world)
  fake_pictures.write_siblings(tmp_path, 1, world=world)
  labels = head_shards.read_labels(tmp_path / 'shard_00001.npz')
  assert labels.world is world
  assert isinstance(labels.attributes[0], world.attributes.record)
  assert head_shards.world_of(tmp_path) is world


def test_batches_speak_the_words_of_their_world(tmp_path, world):
  fake_pictures.write_shard(tmp_path, 1, count=8, world=world)
  texts = head_batches.HeadBatches(tmp_path, 'rgb', 32, 0).batch(0)[1]
  known = set(world.captions.vocabulary())
  words = {w for text in texts for w in text.replace(',', ' , ').split()}
  assert words <= known


@pytest.fixture(name='mixed')
def fixture_mixed(tmp_path, mars):
  """A folder with shards of two worlds."""
  fake_pictures.write_shard(tmp_path, 1, world=PEOPLE)
  fake_pictures.write_siblings(tmp_path, 2, world=mars)
  return tmp_path


@pytest.mark.parametrize(
  'read',
  [
    head_shards.world_of,
    lambda folder: head_batches.HeadBatches(folder, 'rgb', 4, 0),
    lambda folder: prefetch.open_source(folder, 'rgb', 4, 0, None),
  ],
)
def test_shards_of_two_worlds_are_not_mixed(mixed, read):
  with pytest.raises(ValueError, match='worlds mars and people; keep') as error:
    read(mixed)
  assert '\n' not in str(error.value)


def test_a_drawer_of_two_worlds_is_refused(mixed):
  labels = [
    head_shards.read_labels(path) for path in sorted(mixed.glob('*.npz'))
  ]
  with pytest.raises(ValueError, match='worlds mars and people'):
    head_shards.common_world(labels)


def test_nothing_is_written_beside_shards_of_another_world(
  tmp_path, monkeypatch, mars
):
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  monkeypatch.setattr(head_shards, 'SHARD_SIZE', 2)
  monkeypatch.setenv('XLA_FLAGS', '')  # Put back after `write_shards`.
  fake_pictures.write_shard(tmp_path, 1, world=mars)
  options = folders.Options(str(tmp_path), world='people', shards='2:3')
  words = "has shards of the world 'mars', and world is 'people'; give"
  with pytest.raises(ValueError, match=words):
    folders.write(options)
  assert not (tmp_path / 'shard_00002.npz').exists()


def test_a_folder_of_heads_is_of_the_world_that_is_asked(
  tmp_path, monkeypatch, world
):
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  options = folders.Options(
    str(tmp_path), world=world.name, num=2, seed=4, resolution=8, cameras=1
  )
  folders.write(options)
  text = (tmp_path / 'captions.txt').read_text()
  heads = [subjects.sample_head(world, 4, i) for i in range(2)]
  assert text.splitlines() == [
    world.captions.describe(head.attributes) for head in heads
  ]


def test_rows_of_clay_are_as_they_were(tmp_path, monkeypatch):
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  monkeypatch.setattr(head_shards, 'SHARD_SIZE', 1)
  for world, mark in ((CLAY, None), (PEOPLE, 'people')):
    path = head_shards.write_shard(world, tmp_path / world.name, 0, 0, 8)
    row = json.loads(path.with_suffix('.jsonl').read_text())
    assert row.get('world') == mark
