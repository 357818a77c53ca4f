"""A run's folder is claimed, recognised, or left alone."""

import dataclasses
import datetime
import errno
import json
import os
import pathlib

import pytest

from mmdist.config import schema
from mmdist.run import locks
from mmdist.run import workdir as workdir_lib

WEIGHTS = {'generic': {'unet/a.safetensors': 'ab', 'lora': 'cd'}}


def make_run(**fields) -> schema.RunConfig:
  return schema.RunConfig(num_steps=7, **fields)


def contents(folder: pathlib.Path) -> dict[str, str]:
  """Returns the text of every file of a folder, by its path."""
  return {str(p): p.read_text() for p in folder.rglob('*') if p.is_file()}


def read_changes(workdir: pathlib.Path) -> list[dict]:
  lines = (workdir / 'changes.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


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
  other = make_run(learner=schema.LearnerConfig(learning_rate=2e-3))
  with pytest.raises(
    ValueError, match=r'learner.learning_rate: 0.003 -> 0.002\)'
  ):
    workdir_lib.claim(tmp_path, other)


def test_pictures_and_checkpoints_may_be_configured_anew(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  other = dataclasses.replace(
    make_run(),
    checkpoints=schema.CheckpointConfig(every=1),
    results=schema.ResultsConfig(preview_every=0),
  )
  workdir_lib.claim(tmp_path, other)


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / 'holiday.jpg').touch()
  with pytest.raises(ValueError, match='is not empty and holds no run'):
    workdir_lib.claim(tmp_path, make_run())
  assert [path.name for path in tmp_path.iterdir()] == ['holiday.jpg']


@pytest.mark.parametrize(
  'content', [b'{"hidden_size": 768}', b'{"prompt": "\xff"}']
)
def test_a_config_of_something_else_is_refused(content, tmp_path):
  (tmp_path / 'config.json').write_bytes(content)
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


def test_a_change_that_is_named_is_written_down_and_replaces_the_old(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  assert not (tmp_path / 'changes.jsonl').exists()
  concepts = [schema.ConceptConfig('a joker')]
  other = make_run(seed=2, concepts=concepts)
  changes = workdir_lib.check(tmp_path, other, ['seed', 'concepts'])
  assert 'seed: 0 -> 2' in map(str, changes)
  workdir_lib.claim(tmp_path, other, ['seed', 'concepts'])
  rows = {row['field']: row for row in read_changes(tmp_path)}
  assert (rows['seed']['before'], rows['seed']['after']) == (0, 2)
  assert rows['concepts']['after'] is None  # There are concepts[0].* instead.
  assert rows['concepts[0].text']['before'] is None
  when = datetime.datetime.fromisoformat(rows['seed']['time'])
  assert when.utcoffset() == datetime.timedelta(0)
  assert workdir_lib.read_config(tmp_path) == other
  workdir_lib.check(tmp_path, other)  # It is the run's own configuration now.


def test_changes_are_added_to_those_before(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  for seed in (1, 2):
    workdir_lib.claim(tmp_path, make_run(seed=seed), ['seed'])
  workdir_lib.claim(tmp_path, make_run(seed=2), ['seed'])
  rows = read_changes(tmp_path)
  assert [(row['before'], row['after']) for row in rows] == [(0, 1), (1, 2)]


def test_a_change_that_is_not_named_is_refused_beside_one_that_is(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  before = contents(tmp_path)
  other = make_run(seed=2, prompt='a joker')
  with pytest.raises(ValueError) as caught:
    workdir_lib.claim(tmp_path, other, ['seed'])
  words = str(caught.value)
  assert 'prompt: ' in words and 'seed' not in words and '\n' not in words
  assert words.endswith(' --resume_with_changes=prompt')
  assert contents(tmp_path) == before


def test_what_decides_a_checkpoint_is_refused_though_it_is_named(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  before = contents(tmp_path)
  other = make_run(nerf=schema.NerfConfig(nerf_width=32))
  with pytest.raises(ValueError) as caught:
    workdir_lib.claim(tmp_path, other, ['nerf'])
  assert 'nerf.nerf_width: 64 -> 32); nerf.nerf_width can never change' in str(
    caught.value
  )
  assert '--resume_with_changes' not in str(caught.value)
  assert contents(tmp_path) == before


@pytest.mark.parametrize('is_new', [False, True])
def test_an_unknown_name_is_refused_before_anything_is_written(
  tmp_path, is_new
):
  workdir = tmp_path / 'run'
  if not is_new:
    workdir_lib.claim(workdir, make_run())
  with pytest.raises(ValueError, match="'sed'; did you mean 'seed'"):
    workdir_lib.claim(workdir, make_run(seed=1), ['sed'])
  assert workdir.exists() != is_new


def test_weights_are_recorded_once(tmp_path):
  workdir_lib.claim(tmp_path, make_run(), weights=WEIGHTS)
  record = tmp_path / 'priors.json'
  assert json.loads(record.read_text()) == WEIGHTS
  os.utime(record, (0, 0))
  workdir_lib.claim(tmp_path, make_run(), weights=WEIGHTS)
  assert record.stat().st_mtime == 0


@pytest.mark.parametrize(
  'files, words',
  [
    ({'unet/a.safetensors': 'xx', 'lora': 'cd'}, 'unet/a.safetensors has anot'),
    ({'unet/a.safetensors': 'ab'}, 'lora is gone'),
    (WEIGHTS['generic'] | {'vae/b': 'ef'}, 'vae/b is new'),
  ],
)
def test_other_weights_are_refused_by_prior_and_file(tmp_path, files, words):
  workdir_lib.claim(tmp_path, make_run(), weights=WEIGHTS)
  before = contents(tmp_path)
  for may_change in ((), ['weights.normal'], ['priors']):
    with pytest.raises(ValueError, match="of prior 'generic'") as caught:
      workdir_lib.claim(
        tmp_path, make_run(), may_change, weights={'generic': files}
      )
    assert words in str(caught.value) and '\n' not in str(caught.value)
  assert contents(tmp_path) == before


@pytest.mark.parametrize('name', ['weights', 'weights.generic'])
def test_other_weights_that_are_named_are_written_down(tmp_path, name):
  workdir_lib.claim(tmp_path, make_run(), weights=WEIGHTS)
  other = {'generic': WEIGHTS['generic'] | {'lora': 'xx'}}
  workdir_lib.claim(tmp_path, make_run(), [name], weights=other)
  (row,) = read_changes(tmp_path)
  assert row['field'] == 'weights.generic.lora'
  assert (row['before'], row['after']) == ('cd', 'xx')
  assert json.loads((tmp_path / 'priors.json').read_text()) == other


@pytest.mark.parametrize(
  'text', ['', '[]', '{"generic": {}}', '{"generic": "x"}', '{"generic": [1]}']
)
def test_a_damaged_record_of_weights_is_no_permission(tmp_path, text):
  workdir_lib.claim(tmp_path, make_run(), weights=WEIGHTS)
  (tmp_path / 'priors.json').write_text(text)
  with pytest.raises(ValueError, match='priors.json is damaged'):
    workdir_lib.claim(tmp_path, make_run(), ['weights'], weights=WEIGHTS)
  assert (tmp_path / 'priors.json').read_text() == text


def test_files_where_there_were_none_are_refused_by_prior_and_file(tmp_path):
  workdir_lib.claim(tmp_path, make_run(), weights={})
  with pytest.raises(ValueError, match="prior 'generic' .* is new; put"):
    workdir_lib.check_weights(tmp_path, WEIGHTS)
  workdir_lib.claim(tmp_path, make_run(), ['weights'], weights=WEIGHTS)
  assert {row['field'] for row in read_changes(tmp_path)} == {
    'weights.generic.unet/a.safetensors',
    'weights.generic.lora',
  }


def test_a_run_without_a_record_of_weights_is_warned_of(tmp_path):
  workdir_lib.claim(tmp_path, make_run())
  (tmp_path / 'checkpoints').mkdir()
  with pytest.warns(UserWarning, match='had no priors.json'):
    workdir_lib.claim(tmp_path, make_run(), weights=WEIGHTS)
  assert json.loads((tmp_path / 'priors.json').read_text()) == WEIGHTS


def test_two_runs_in_one_folder_are_refused(tmp_path):
  workdir = tmp_path / 'run'
  with workdir_lib.locked(workdir):
    workdir_lib.claim(workdir, make_run())
    with pytest.raises(locks.InUse, match=f'process {os.getpid()} on host'):
      with workdir_lib.locked(workdir):
        pass
    assert (workdir / '.lock').exists()
  assert [path.name for path in workdir.iterdir()] == ['config.json']
  with workdir_lib.locked(workdir):
    pass


def test_a_folder_that_was_locked_in_vain_is_gone(tmp_path):
  with pytest.raises(KeyError):
    with workdir_lib.locked(tmp_path / 'runs' / 'new'):
      raise KeyError
  assert not list(tmp_path.iterdir())
  (tmp_path / 'mine').mkdir()
  with workdir_lib.locked(tmp_path / 'mine' / 'new'):
    pass
  assert [path.name for path in tmp_path.iterdir()] == ['mine']


def test_what_a_killed_run_left_is_no_obstacle(tmp_path):
  (tmp_path / '.lock').write_text('{"host": "elsewhere", "pid": 1}')
  (tmp_path / '.config.123.json').write_text('{"num_st')
  with workdir_lib.locked(tmp_path):
    workdir_lib.claim(tmp_path, make_run())


def test_a_lock_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'pwrite', full)
  with pytest.raises(PermissionError, match='run cannot be written .*space'):
    with workdir_lib.locked(tmp_path / 'run'):
      pass
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'name',
  [
    *('.lock', '.config.1.json', 'config.json', 'priors.json'),
    *('changes.jsonl', 'metrics.jsonl', 'tensorboard', 'checkpoints'),
    *('checkpoints.damaged', 'checkpoints/7', 'preview.png', 'sheet.png'),
    *(
      'turntable.mp4',
      'turntable.webp',
      'mesh.glb',
      'mesh.html',
      'splats.ply',
      'report.html',
    ),
  ],
)
def test_a_link_that_leads_out_is_refused(tmp_path, name):
  workdir, outside = tmp_path / 'run', tmp_path / 'outside'
  workdir_lib.claim(workdir, make_run())
  outside.write_text((workdir / 'config.json').read_text())
  (workdir / name).parent.mkdir(exist_ok=True)
  (workdir / name).unlink(missing_ok=True)
  (workdir / name).symlink_to(outside)
  before = contents(tmp_path)
  with pytest.raises(ValueError, match=f'{name} is a link to'):
    workdir_lib.claim(workdir, make_run())
  assert contents(tmp_path) == before


def test_a_run_may_live_behind_a_link(tmp_path):
  (tmp_path / 'disk').mkdir()
  (tmp_path / 'runs').symlink_to('disk')
  with workdir_lib.locked(tmp_path / 'runs'):
    workdir_lib.claim(tmp_path / 'runs', make_run())
  assert (tmp_path / 'disk' / 'config.json').is_file()


def test_a_link_to_a_folder_that_is_gone_is_named(tmp_path):
  (tmp_path / 'runs').symlink_to('disk')
  with pytest.raises(FileNotFoundError, match='link to disk, which is not'):
    workdir_lib.check(tmp_path / 'runs' / 'new', make_run())
