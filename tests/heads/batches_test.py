import numpy as np
import pytest

from mmdist.heads import batches as head_batches
from mmdist.heads import drawing
from mmdist.heads import kinship
from mmdist.heads import sentences
from mmdist.heads import subjects
from mmdist.heads import worlds
from tests.heads import fake_pictures

PEOPLE = worlds.get('people')

SIZE = fake_pictures.SIZE
write_shard = fake_pictures.write_shard


def batches(folder, channel='rgb', batch_size=6, seed=0, **changes):
  return head_batches.HeadBatches(folder, channel, batch_size, seed, **changes)


def equal(a, b):
  return np.array_equal(a[0], b[0]) and a[1] == b[1]


def shards_of(images):
  """Returns from which shards pictures came."""
  return set(np.round(255 * images[:, 0, -1, 0]).astype(int))


@pytest.fixture
def folder(tmp_path):
  for number in (3, 50, 90, 120):
    write_shard(tmp_path, number)
  return tmp_path


def test_a_batch_depends_on_seed_step_and_rank_alone(folder):
  walked, fresh = batches(folder), batches(folder)
  for step in range(5):
    walked.batch(step)
  assert equal(walked.batch(5), fresh.batch(5))
  assert not equal(fresh.batch(5), fresh.batch(6))
  assert not equal(fresh.batch(5), batches(folder, seed=1).batch(5))


def test_pictures_lie_over_greys_of_the_declared_range(folder):
  images, texts, _ = batches(folder, batch_size=64).batch(0)
  assert images.shape == (64, SIZE, SIZE, 3) and images.dtype == np.float32
  assert len(texts) == 64
  behind = images[:, 0, 0]
  np.testing.assert_array_equal(behind, behind[:, :1].repeat(3, 1))
  low, high = drawing.BACKGROUND
  assert (low <= behind).all() and (behind <= high).all()
  assert behind.std() > 0.1
  assert shards_of(images) == {3, 50, 90, 120}


def test_the_normal_channel_is_shown_as_it_is(folder):
  images, texts, _ = batches(
    folder, 'normal', prefix=sentences.NORMAL_PREFIX
  ).batch(0)
  np.testing.assert_allclose(images[..., 1:], 128 / 255)
  assert all(text.startswith('a [w] face map of a') for text in texts)


def test_captions_tell_of_their_picture(folder):
  images, texts, _ = batches(folder, batch_size=32).batch(3)
  for image, text in zip(images, texts, strict=True):
    number = int(round(255 * float(image[0, -1, 0])))
    truths = [
      PEOPLE.attributes.visible(
        subjects.sample_head(PEOPLE, number, i).attributes
      )
      | {'view': 'front'}
      for i in range(4)
    ]
    asked = PEOPLE.captions.parse(text).items()
    assert any(asked <= truth.items() for truth in truths)


def test_ranks_share_the_shards_and_draw_for_themselves(folder):
  ranks = [
    batches(folder, batch_size=64, rank=rank, num_ranks=2) for rank in (0, 1)
  ]
  seen = [shards_of(rank.batch(0)[0]) for rank in ranks]
  assert seen == [{3, 90}, {50, 120}]


def test_more_ranks_than_shards_still_have_pictures(tmp_path):
  write_shard(tmp_path, 9)
  images, *_ = batches(tmp_path, rank=1, num_ranks=2).batch(0)
  assert shards_of(images) == {9}


def test_new_shards_join_at_the_next_look(folder, monkeypatch):
  monkeypatch.setattr(head_batches, 'REFRESH_EVERY', 10)
  source = batches(folder, batch_size=64)
  write_shard(folder, 200)
  assert 200 not in shards_of(source.batch(9)[0])
  assert 200 in shards_of(source.batch(10)[0])


def test_a_resumed_source_draws_what_one_that_met_new_shards_draws(folder):
  source = batches(folder, rank=1, num_ranks=2)
  write_shard(folder, 30)  # Between the others: ranks share out anew.
  source.batch(head_batches.REFRESH_EVERY)
  resumed = batches(folder, rank=1, num_ranks=2)
  step = head_batches.REFRESH_EVERY + 7
  assert equal(source.batch(step), resumed.batch(step))


def test_no_shards_are_named_at_once(tmp_path):
  with pytest.raises(FileNotFoundError, match='no shards'):
    batches(tmp_path)


def test_backs_are_drawn_less_often_than_they_were_rendered(tmp_path):
  write_shard(tmp_path, 10)
  path = tmp_path / 'shard_00010.jsonl'
  rows = path.read_text().splitlines()
  rows[2] = rows[2].replace('"front"', '"back"')
  path.write_text('\n'.join(rows))  # One of its four pictures.
  texts = batches(tmp_path, batch_size=2000).batch(0)[1]
  backs = np.mean(['back view' in text for text in texts])
  weight = drawing.EMPHASIS['back']
  # 0.9 of captions name the view.
  assert backs == pytest.approx(0.9 * weight / (weight + 3), abs=0.03)


def test_families_share_all_but_the_expression(folder):
  fake_pictures.write_siblings(folder, 60)
  images, texts, families = batches(folder, batch_size=18).batch(2)
  size = kinship.FAMILY_SIZE
  # 0.6 of 18 pictures are two families, and the rest is on its own.
  assert list(np.bincount(families)) == [size, size] + [1] * (18 - 2 * size)
  for number in (0, 1):
    rows = np.flatnonzero(families == number)
    greys = {float(images[i, 0, 0, 0]) for i in rows}
    assert len(greys) == 1
  singles = images[families > 1]
  assert 60 not in shards_of(singles)


def test_without_siblings_all_pictures_are_on_their_own(folder):
  families = batches(folder, batch_size=6).batch(2)[2]
  np.testing.assert_array_equal(families, np.arange(6))
