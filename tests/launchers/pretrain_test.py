import json

import numpy as np
import pytest

from experiments import pretrain as experiment
from launchers import pretrain as launcher
from mmdist.cameras import orbits
from mmdist.data import multiview
from mmdist.learner import pretrain
from mmdist.nerf import assets
from tests.nerf import tiny_nerf


@pytest.fixture
def data(tmp_path):
  rng = np.random.default_rng(0)
  cameras = orbits.sample(9, rng).cameras()
  pictures = multiview.MultiviewSet(
    rng.integers(0, 256, (3, 3, 4, 4, 4), np.uint8),
    cameras.camera_to_world.reshape(3, 3, 3, 4),
    cameras.tan_half_fov.reshape(3, 3),
  )
  multiview.write_transforms(tmp_path / 'data', pictures)
  return str(tmp_path / 'data')


def tiny_config():
  return pretrain.PretrainConfig(
    nerf=tiny_nerf.CONFIG,
    num_unseen_subjects=1,
    num_steps=6,
    batch_size=16,
    chunk_size=8,
    num_devices=1,
    num_code_steps=2,
    checkpoint_every=2,
  )


class Killed(Exception):
  pass


@pytest.mark.slow
def test_a_killed_training_ends_like_one_that_was_not(
  data, tmp_path, monkeypatch, capsys
):
  config = tiny_config()
  whole = launcher.run(config, tmp_path / 'whole', data)
  save = launcher.pretrain_checkpoint.save

  def save_and_die(path, state, *rest):
    save(path, state, *rest)
    if int(state.step) == 4:
      raise Killed

  monkeypatch.setattr(launcher.pretrain_checkpoint, 'save', save_and_die)
  with pytest.raises(Killed):
    launcher.run(config, tmp_path / 'parts', data)
  monkeypatch.undo()
  parts = launcher.run(config, tmp_path / 'parts', data)
  assert 'goes on from step 4' in capsys.readouterr().out
  assert parts == whole
  assert set(parts) == {'held_out_psnr', 'unseen_psnr'}
  for name in ('params.safetensors', 'config.json', 'results.json'):
    first, second = (
      (tmp_path / run / name).read_bytes() for run in ('whole', 'parts')
    )
    assert first == second
  config, _, codes = assets.load(tmp_path / 'parts')
  assert config == tiny_config().nerf and codes.shape == (2, config.code_size)
  assert json.loads((tmp_path / 'parts/results.json').read_text()) == parts


def test_no_subject_to_train_on_is_refused(data):
  pictures = multiview.read_transforms(data)
  with pytest.raises(ValueError, match='num_unseen_subjects=3 of 3 subjects'):
    launcher.split(pictures, 3)


@pytest.mark.parametrize('preset', experiment.PRESETS)
def test_every_preset_can_be_dealt_out_and_has_someone_to_train_on(preset):
  config = experiment.get_config(preset)
  assert config.batch_size % config.chunk_size == 0
  assert config.num_subjects > config.num_unseen_subjects


def test_an_unknown_preset_names_the_nearest():
  with pytest.raises(ValueError, match="did you mean 'preface'"):
    experiment.get_config('prefase')
