"""People's pictures: bodies built once, and shards of them without JAX."""

import subprocess
import sys

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import kinship
from mmdist.heads import shards as head_shards
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.heads.people import bodies

PEOPLE = worlds.get('people')


@pytest.fixture
def built(monkeypatch):
  """Fake bodies; returns those that were made."""
  made = []

  def make(attributes, rng):
    made.append((attributes, rng.random()))
    return made[-1]

  def render(body, camera_to_world, tan_half_fov, resolution, supersampling):
    # The picture tells who is seen, from where, and how finely.
    num_views = len(camera_to_world)
    size = (num_views, resolution, resolution)
    rgba = np.zeros((*size, 4), np.float32)
    rgba[..., 0] = body[1]
    rgba[..., 1] = camera_to_world[:, 0, 3, None, None] / 8 + 0.5
    rgba[..., 2] = supersampling / 8
    rgba[..., 3] = tan_half_fov[:, None, None]
    return rgba, np.full((*size, 3), body[1], np.float32), np.ones(size)

  monkeypatch.setattr(bodies, 'make', make)
  monkeypatch.setattr(bodies, 'render', render)
  return made


def people(*indices):
  heads = {i: subjects.sample_head(PEOPLE, 3, i) for i in set(indices)}
  return [heads[i] for i in indices]


def test_each_person_is_built_once_and_seen_from_its_own_views(built):
  views = orbits.turntable(5)
  heads = people(0, 1, 0, 2, 1)
  pictures = subjects.render_heads(PEOPLE, heads, views, 8)
  assert len(built) == 3
  who = pictures.rgba[:, 0, 0, 0]
  assert who[0] == who[2] and who[1] == who[4] and len(set(who)) == 3
  poses, tan_half_fov = views.poses()
  np.testing.assert_allclose(
    pictures.rgba[:, 3, 3, 1], poses[:, 0, 3] / 8 + 0.5, rtol=1e-6
  )
  np.testing.assert_allclose(pictures.rgba[:, 3, 3, 3], tan_half_fov)
  np.testing.assert_array_equal(pictures.normals[:, 0, 0, 0], who)


def test_people_have_several_rays_a_pixel_unless_asked_otherwise(built):
  (head,) = people(0)
  views = orbits.turntable(1)
  for asked, seen in ((None, 2), (1, 1), (3, 3)):
    pictures = subjects.render_heads(PEOPLE, [head], views, 8, asked)
    assert pictures.rgba[0, 0, 0, 2] * 8 == seen


def test_poses_are_those_of_the_cameras():
  views = orbits.sample(7, np.random.default_rng(0))
  poses, tan_half_fov = views.poses()
  cameras = views.cameras()
  np.testing.assert_array_equal(poses, cameras.camera_to_world)
  np.testing.assert_array_equal(tan_half_fov, cameras.tan_half_fov)


def test_a_shard_has_eight_views_of_each_person(built, tmp_path, monkeypatch):
  monkeypatch.setattr(head_shards, 'SHARD_SIZE', 20)
  path = head_shards.write_shard(PEOPLE, tmp_path, 7, 2, 8)
  shard = head_shards.read_shard(path)
  assert shard.world is PEOPLE and len(shard) == 20
  # Three people a shard: the second one's begin with number 6.
  expected = [subjects.sample_head(PEOPLE, 7, 6 + i // 8) for i in range(20)]
  assert shard.attributes == tuple(head.attributes for head in expected)
  assert len(built) == 3


def test_siblings_are_built_once_and_share_a_body_and_each_view(
  built, tmp_path, monkeypatch
):
  monkeypatch.setattr(head_shards, 'NUM_FAMILIES', 16)
  path = head_shards.write_siblings(PEOPLE, tmp_path, 3, 0, 8, ('hat',))
  shard = head_shards.read_shard(path)
  size = kinship.FAMILY_SIZE
  assert len(shard) == 16 * size and len(built) == 2 * size
  rgba = shard.rgba.reshape(16, size, -1)
  for row in range(16):
    members = shard.attributes[row * size : (row + 1) * size]
    assert len({a.hat for a in members}) == size
    assert len(set(shard.views[row * size : (row + 1) * size])) == 1
    np.testing.assert_array_equal(rgba[row], rgba[row, :1].repeat(size, 0))
  # One body, eight views; then another.
  assert len({seed for _, seed in built[:size]}) == 1
  assert {tuple(r) for r in rgba[:8, 0]} & {tuple(r) for r in rgba[8:, 0]} == (
    set()
  )


_DRAW = """
import pathlib, sys
from mmdist.heads import shards, worlds

shards.SHARD_SIZE = 2
out = pathlib.Path(sys.argv[1])
shards.write_shard(worlds.get('people'), out, 3, 0, 16)
sys.exit(bool({'jax', 'torch', 'flax'} & set(sys.modules)))
"""


def test_a_shard_of_people_is_drawn_without_jax(tmp_path):
  subprocess.run([sys.executable, '-c', _DRAW, tmp_path], check=True)
  shard = head_shards.read_shard(tmp_path / 'shard_00000.npz')
  assert shard.world is PEOPLE
  assert shard.attributes[0] == shard.attributes[1]  # Two views of one.
  covered = (shard.rgba[..., 3] > 127).mean((1, 2))
  assert (0.1 < covered).all() and (covered <= 1).all()
  # Somebody is there, of more than one colour, and the normals go with it.
  seen = shard.rgba[..., 3] > 250
  assert shard.rgba[seen].std() > 5
  lengths = np.linalg.norm(shard.normals[seen] / 127.5 - 1, axis=-1)
  # Hair and edges are blends of directions.
  assert np.median(lengths) > 0.9
