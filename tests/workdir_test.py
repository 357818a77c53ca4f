"""A run's folder is claimed, recognised, or left alone."""

import dataclasses
import errno
import json
import os

import pytest

from mmdist import workdir as workdir_lib
from mmdist.core import config as config_lib


def make_run(**fields) -> config_lib.RunConfig:
  return config_lib.RunConfig(num_steps=7, **fields)


def test_a_new_folder_is_made_with_the_configuration(tmp_path):
  workdir = workdir_lib.claim(tmp_path / 'runs' / 'new', make_run())
  stored = json.loads((workdir / 'config.json').read_text())
  assert stored['num_steps'] == 7
  workdir_lib.check(workdir, make_run())


def test_checking_writes_nothing(tmp_path):
  workdir_lib.check(tmp_path / 'new', make_run())
  assert not list(tmp_path.iterdir())


def test_another_configuration_is_refused_by_its_field(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  other = make_run(learner=config_lib.LearnerConfig(learning_rate=2e-3))
  with pytest.raises(
    ValueError, match=r'learner.learning_rate: 0.003 -> 0.002\)'
  ):
    workdir_lib.claim(tmp_path, other)


def test_pictures_and_checkpoints_may_be_configured_anew(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  other = dataclasses.replace(
    make_run(),
    checkpoints=config_lib.CheckpointConfig(every=1),
    results=config_lib.ResultsConfig(preview_every=0),
  )
  workdir_lib.claim(tmp_path, other)


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / 'holiday.jpg').touch()
  with pytest.raises(ValueError, match='is not empty and holds no run'):
    workdir_lib.claim(tmp_path, make_run())
  assert [path.name for path in tmp_path.iterdir()] == ['holiday.jpg']


def test_a_config_of_something_else_is_refused(tmp_path):
  (tmp_path / 'config.json').write_text('{"hidden_size": 768}')
  with pytest.raises(ValueError, match='is no configuration'):
    workdir_lib.check(tmp_path, make_run())


def test_a_file_in_the_way_is_named(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(NotADirectoryError, match='file is a file'):
    workdir_lib.check(tmp_path / 'file' / 'run', make_run())


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
  # A superuser may write anywhere, so the answer of the system is played.
  monkeypatch.setattr(os, 'access', lambda *_: False)
  with pytest.raises(PermissionError, match='cannot be written'):
    workdir_lib.check(tmp_path / 'new', make_run())


def test_a_disk_that_is_full_is_named_and_keeps_nothing(tmp_path, monkeypatch):
  def full(source, target):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'replace', full)
  with pytest.raises(PermissionError, match='run cannot be written .*space'):
    workdir_lib.claim(tmp_path / 'run', make_run())
  assert not any((tmp_path / 'run').iterdir())
