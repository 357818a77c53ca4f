"""What was counted once is told again without counting."""

import pytest

from mmdist.priors import footprint
from mmdist.priors import memory_needs
from tests.priors import tiny


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(memory_needs, '_GPU_FILES', ())
  return tmp_path / 'cache'


@pytest.fixture
def counted(monkeypatch):
  """What `footprint.estimate` is asked, which goes on estimating."""
  asked = []
  estimate = footprint.estimate

  def note(*given):
    asked.append(given)
    return estimate(*given)

  monkeypatch.setattr(footprint, 'estimate', note)
  return asked


def test_a_second_time_it_is_not_counted(tmp_path, counted):
  spec = tiny.spec(tiny.write_pipeline(tmp_path / 'prior'))
  first = memory_needs.of_prior(spec, 2, 3)
  assert first.footprint == footprint.estimate(spec, 2, 3)
  assert first.on_cpu == footprint.is_on_cpu(spec)
  counted.clear()
  assert memory_needs.of_prior(spec, 2, 3) == first
  assert not counted


def test_what_it_follows_from_is_counted_anew(tmp_path, counted, monkeypatch):
  directory = tiny.write_pipeline(tmp_path / 'prior')
  spec = tiny.spec(directory)
  memory_needs.of_prior(spec, 2)
  for asked in (
    (spec, 3),
    (spec, 2, 2),
    (tiny.spec(directory, dtype='bfloat16'), 2),
    (tiny.spec(directory, rank=9), 2),
  ):
    counted.clear()
    memory_needs.of_prior(*asked)
    assert len(counted) == 1
  monkeypatch.setattr(memory_needs, '_instructions', lambda: 'others')
  memory_needs.of_prior(spec, 2)
  assert len(counted) == 2


def test_where_there_may_be_a_gpu_torch_is_asked_each_time(
  tmp_path, counted, monkeypatch, cache
):
  monkeypatch.setattr(memory_needs, '_GPU_FILES', ('null',))
  spec = tiny.spec(tiny.write_pipeline(tmp_path / 'prior'))
  for number in (1, 2):
    memory_needs.of_prior(spec, 2)
    assert len(counted) == number
  assert not list(cache.rglob('*.json'))


def test_a_damaged_record_is_counted_anew(tmp_path, counted, cache):
  spec = tiny.spec(tiny.write_pipeline(tmp_path / 'prior'))
  need = memory_needs.of_prior(spec, 2)
  (record,) = cache.rglob('*.json')
  record.write_text('{"footprint": {"text": 1}, "on_cpu": true}')
  assert memory_needs.of_prior(spec, 2) == need
  assert len(counted) == 2
