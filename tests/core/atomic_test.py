import os

import pytest

from mmdist.core import atomic


def test_a_finished_file_has_its_name_and_nothing_else_is_left(tmp_path):
  with atomic.replacing(tmp_path / 'a.png') as temporary:
    temporary.write_text('new')
    assert temporary.suffix == '.png'
    assert not (tmp_path / 'a.png').exists()
  assert [path.name for path in tmp_path.iterdir()] == ['a.png']


def test_an_error_leaves_the_file_of_before(tmp_path):
  path = tmp_path / 'a.txt'
  atomic.write_text(path, 'before')
  with pytest.raises(RuntimeError, match='half way'):
    with atomic.replacing(path) as temporary:
      temporary.write_text('half')
      raise RuntimeError('half way')
  assert path.read_text() == 'before'
  assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  path, synced = tmp_path / 'a.txt', []

  def fsync(number):
    synced.append(os.fstat(number).st_ino)
    assert not path.exists()

  monkeypatch.setattr(atomic.os, 'fsync', fsync)
  atomic.write_text(path, 'whole')
  assert synced == [path.stat().st_ino]


def test_bytes_come_back_as_they_were(tmp_path):
  atomic.write_bytes(tmp_path / 'a', b'\x00\xff')
  assert (tmp_path / 'a').read_bytes() == b'\x00\xff'


def test_a_file_that_cannot_be_put_in_place_leaves_the_one_of_before(
  tmp_path, monkeypatch
):
  path = tmp_path / 'a'
  atomic.write_bytes(path, b'old')

  def fail(*_):
    raise OSError('no space left')

  monkeypatch.setattr(atomic.os, 'replace', fail)
  with pytest.raises(OSError, match='no space'):
    atomic.write_bytes(path, b'new')
  assert path.read_bytes() == b'old'
  assert [file.name for file in tmp_path.iterdir()] == ['a']


def test_the_longest_name_of_a_file_is_written(tmp_path):
  for name in ('a' * 251 + '.txt', '\u2603' * 85):
    atomic.write_text(tmp_path / name, 'text')
    assert (tmp_path / name).read_text() == 'text'
  assert len(list(tmp_path.iterdir())) == 2


def test_what_is_no_unicode_is_written_escaped(tmp_path):
  atomic.write_text(tmp_path / 'a', 'J\udcfcrgen \u2603')
  assert (tmp_path / 'a').read_text('utf-8') == 'J\\udcfcrgen \u2603'
