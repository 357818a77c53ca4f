import dataclasses
import itertools
import json
import pathlib

import jax
import numpy as np
from PIL import Image
import pytest
import safetensors
import safetensors.numpy

from experiments import pretrain as experiment
from launchers import terminal
from mmdist.data import multiview
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.learner import pretrain
from mmdist.nerf import pretrained
from mmdist.run import locks
from mmdist.training import pretraining
from tests.data import small_sets
from tests.nerf import tiny_nerf
from tests.results import quick_nerf


@pytest.fixture(scope='module')
def make_once():
  """`make_pretraining`, which answers the same question once.

  It makes pure functions; who trains again needs no other program for it.
  """
  make, made = pretrain.make_pretraining, {}

  def make_once(representation, config):
    key = representation, repr(config)
    if key not in made:
      made[key] = make(representation, config)
    return made[key]

  return make_once


@pytest.fixture(autouse=True)
def _quick(monkeypatch, make_once):
  monkeypatch.setattr(pretrain, 'make_pretraining', make_once)
  with quick_nerf.quick():
    yield


@pytest.fixture
def data(tmp_path):
  folder = small_sets.write(
    tmp_path / 'data', num_subjects=3, num_cameras=3, resolution=4
  )
  return str(folder)


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


def train_in_parts(config, out, data, monkeypatch):
  """Trains until step 4, and leaves it to the caller to go on."""
  save = pretraining.pretrain_checkpoint.save

  def save_and_die(path, state, *rest):
    save(path, state, *rest)
    if int(state.step) == 4:
      raise Killed

  with monkeypatch.context() as patch, pytest.raises(Killed):
    patch.setattr(pretraining.pretrain_checkpoint, 'save', save_and_die)
    pretraining.train_and_measure(config, out, data)


@pytest.mark.slow
def test_a_killed_training_ends_like_one_that_was_not(
  data, tmp_path, monkeypatch
):
  config, said = tiny_config(), []
  whole = pretraining.train_and_measure(config, tmp_path / 'whole', data)
  train_in_parts(config, tmp_path / 'parts', data, monkeypatch)
  parts = pretraining.train_and_measure(
    config, tmp_path / 'parts', data, said.append
  )
  assert 'goes on from step 4' in said
  assert parts == whole
  assert set(parts) == {'held_out_psnr', 'unseen_psnr'}
  for name in ('params.safetensors', 'config.json', 'results.json'):
    first, second = (
      (tmp_path / run / name).read_bytes() for run in ('whole', 'parts')
    )
    assert first == second
  config, _, codes = pretrained.load(tmp_path / 'parts')
  assert config == tiny_config().nerf and codes.shape == (2, config.code_size)
  assert json.loads((tmp_path / 'parts/results.json').read_text()) == parts
  # A row of codes per line.
  names = (tmp_path / 'parts/subjects.txt').read_text().splitlines()
  assert names == ['00000', '00001']


def weights_in(out):
  """Returns all arrays of a checkpoint and of the finished networks."""
  names = ('params.safetensors', 'training.safetensors')
  return [safetensors.numpy.load_file(out / name) for name in names]


@pytest.mark.slow
def test_with_pictures_on_the_device_it_goes_on_bit_for_bit(
  data, tmp_path, monkeypatch
):
  config = dataclasses.replace(tiny_config(), pixels='device')
  pretraining.train_and_measure(config, tmp_path / 'whole', data)
  train_in_parts(config, tmp_path / 'parts', data, monkeypatch)
  pretraining.train_and_measure(config, tmp_path / 'parts', data)
  whole, parts = (weights_in(tmp_path / name) for name in ('whole', 'parts'))
  jax.tree.map(np.testing.assert_array_equal, whole, parts)


@pytest.mark.slow
def test_a_file_of_the_time_before_goes_on_with_the_same_pixels(
  data, tmp_path, monkeypatch
):
  config = tiny_config()
  pretraining.train_and_measure(config, tmp_path / 'whole', data)
  train_in_parts(config, tmp_path / 'parts', data, monkeypatch)
  forget(tmp_path / 'parts' / 'training.safetensors', 'compute', 'pixels')
  config.pixels = 'device'
  pretraining.train_and_measure(config, tmp_path / 'parts', data)
  whole, parts = (weights_in(tmp_path / name) for name in ('whole', 'parts'))
  # The pixels are the same bits; a step merges what it computes of them.
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
    whole,
    parts,
  )
  config.compute = 'bfloat16'
  with pytest.raises(ValueError, match='was trained with another compute;'):
    pretraining.train_and_measure(config, tmp_path / 'parts', data)


def forget(file, *names):
  """Takes fields out of the configuration in a checkpoint."""
  with safetensors.safe_open(file, 'numpy') as opened:
    metadata = opened.metadata()
    tensors = {name: opened.get_tensor(name) for name in opened.keys()}
  known = json.loads(metadata['config'])
  for name in names:
    del known[name]
  metadata['config'] = json.dumps(known)
  file.write_bytes(safetensors.numpy.save(tensors, metadata))


@pytest.mark.slow
def test_in_bfloat16_it_trains_other_networks(data, tmp_path):
  moved = []
  for compute in ('float32', 'bfloat16'):
    config = tiny_config()
    config.compute = compute
    results = pretraining.train_and_measure(config, tmp_path / compute, data)
    assert np.isfinite(list(results.values())).all()
    weights = safetensors.numpy.load_file(
      tmp_path / compute / 'params.safetensors'
    )
    moved.append(np.concatenate([np.ravel(one) for one in weights.values()]))
  difference = np.linalg.norm(moved[0] - moved[1]) / np.linalg.norm(moved[0])
  assert 0 < difference < 0.1


@pytest.mark.parametrize(
  'field, value',
  [('compute', 'float16'), ('pixels', 'gpu'), ('optimizer', 'sgd')],
)
def test_a_choice_that_does_not_exist_is_told_before_any_picture(
  field, value, tmp_path, monkeypatch
):
  monkeypatch.delattr(pretraining, 'load_set')
  config = dataclasses.replace(tiny_config(), **{field: value})
  with pytest.raises(ValueError, match=f"^{field} is '{value}'"):
    pretraining.train_and_measure(config, tmp_path / 'out')


@pytest.mark.slow
def test_oblong_distorted_pictures_of_several_numbers_are_learned(
  data, tmp_path
):
  for path in pathlib.Path(data).glob('*/images/*.png'):
    with Image.open(path) as image:
      image.resize((6, 4)).save(path)

  def change(data):
    data.update(k1=-0.1, p2=0.01, fl_x=10.0, w=6, h=4)
    for frame in data['frames']:
      for name in ('fl_x', 'fl_y', 'cx', 'cy', 'w', 'h', 'camera_angle_x'):
        del frame[name]

  for place in pathlib.Path(data).iterdir():
    small_sets.edit(place / 'transforms.json', change)
  small_sets.edit(
    pathlib.Path(data) / '00001' / 'transforms.json',
    lambda data: data['frames'].pop(),
  )
  lines = []
  results = pretraining.train_and_measure(
    tiny_config(), tmp_path / 'out', data, lines.append
  )
  assert np.all(np.isfinite(list(results.values())))
  said = '\n'.join(lines)
  assert '3 subject(s); pictures of 6 x 4, 5 to train on and 3 held out' in said
  assert 'step 6 held-out psnr' in said


@pytest.mark.slow
def test_other_pictures_are_not_gone_on_with(data, tmp_path):
  out = tmp_path / 'out'
  pretraining.train_and_measure(tiny_config(), out, data)
  before = {path: path.read_bytes() for path in out.iterdir()}
  (pathlib.Path(data) / '00000').rename(pathlib.Path(data) / '9')
  with pytest.raises(ValueError, match='trained on other pixels'):
    pretraining.train_and_measure(tiny_config(), out, data)
  assert before == {path: path.read_bytes() for path in out.iterdir()}


def poses(change):
  def edit(data):
    for frame in data['frames']:
      frame['transform_matrix'] = change(
        np.array(frame['transform_matrix'])
      ).tolist()

  return lambda place: small_sets.edit(place / 'transforms.json', edit)


def settings(**words):
  return lambda place: small_sets.edit(
    place / 'transforms.json', lambda data: data.update(words)
  )


def picture(mode, size):
  return lambda place: Image.new(mode, size).save(place / 'images/001.png')


SPOILED = {
  'no set': (
    lambda place: (place / 'transforms.json').unlink(),
    '00001 has neither transforms.json nor',
  ),
  'no JSON': (
    lambda place: (place / 'transforms.json').write_text('{'),
    '00001/transforms.json: it is no JSON',
  ),
  'no picture': (
    lambda place: (place / 'images/001.png').unlink(),
    '00001/images/001.png is missing',
  ),
  'sheared': (poses(lambda pose: pose * 2), "frame 'images/000.png': transf"),
  'elsewhere': (
    poses(lambda pose: pose + np.eye(4, k=3) * 1e4),
    '3 of 3 cameras do not see a head',
  ),
  'fisheye': (settings(camera_model='OPENCV_FISHEYE'), 'undistorter'),
  'folded': (settings(k1=-1e3), 'folds the edge'),
  'tiny': (picture('RGB', (2, 2)), '001.png has 2 x 2 pixels'),
  'another size': (picture('RGB', (5, 5)), '001.png has 5 x 5 pixels, but'),
  'no test picture': (settings(test_filenames=['x']), "names 'x', which no"),
}


@pytest.mark.parametrize('case', SPOILED)
def test_what_is_wrong_with_a_set_is_one_line_and_writes_nothing(
  data, tmp_path, capsys, case
):
  spoil, line = SPOILED[case]
  spoil(pathlib.Path(data) / '00001')
  code = terminal.call(
    lambda: pretraining.train_and_measure(
      tiny_config(), tmp_path / 'out', data
    ),
    [],
  )
  written = capsys.readouterr().err
  assert code == 1
  assert written.startswith('error: ') and written.count('\n') == 1
  assert line in written
  assert not (tmp_path / 'out').exists()


def test_what_is_odd_with_a_set_is_told_and_not_refused(data):
  for path in (pathlib.Path(data) / '00002/images').iterdir():
    with Image.open(path) as image:
      image.convert('RGB').save(path)
  said = []
  with pytest.warns(match="the pictures of '00002' are opaque"):
    pictures = pretraining.load_set(tiny_config(), data, said.append)
  assert said[0].startswith('3 subject(s); pictures of 4 x 4, 6 to train on')
  assert pictures.num_subjects == 3


def test_held_out_pictures_are_measured_with_their_subjects_code(
  data, monkeypatch
):
  measured = []

  def held_out_psnr(representation, params, codes, pictures):
    del representation, params
    for code, picture in zip(codes, pictures, strict=True):
      measured.append((int(code), int(picture.subject[0, 0])))
    return np.arange(len(measured))

  monkeypatch.setattr(pretraining.pretrain_lib, 'held_out_psnr', held_out_psnr)
  pictures = multiview.read_transforms(data)
  codes = np.array([7, 8, 9])
  assert pretraining.held_out_psnr(None, None, codes, pictures) == 1
  assert measured == [(7, 0), (8, 1), (9, 2)]
  measured.clear()
  assert pretraining.held_out_psnr(None, None, codes, pictures, limit=2) == 0.5
  assert measured == [(7, 0), (9, 2)]


def test_no_subject_to_train_on_is_refused(data):
  pictures = multiview.read_transforms(data)
  with pytest.raises(ValueError, match='num_unseen_subjects=3 of 3 .*=0, or'):
    pretraining.split(pictures, 3)


@pytest.mark.parametrize('preset', experiment.PRESETS)
def test_every_preset_can_be_dealt_out_and_has_someone_to_train_on(preset):
  config = experiment.get_config(preset)
  assert config.batch_size % config.chunk_size == 0
  assert config.num_subjects > config.num_unseen_subjects


def test_an_unknown_preset_names_the_nearest():
  with pytest.raises(ValueError, match="did you mean 'preface'"):
    experiment.get_config('prefase')


def test_two_do_not_train_in_one_folder(data, tmp_path):
  with locks.locked(tmp_path / 'nerf', '--out'):
    with pytest.raises(locks.InUse, match='nerf is in use by process'):
      pretraining.train_and_measure(tiny_config(), tmp_path / 'nerf', data)


def test_procedural_heads_are_those_of_the_world_that_is_asked(
  monkeypatch, mars
):
  asked = []

  def multiview_set(*arguments, expressive):
    asked.append((arguments[0], expressive))

  monkeypatch.setattr(subjects, 'multiview_set', multiview_set)
  expected = list(
    itertools.product((worlds.get('people'), mars), (False, True))
  )
  for world, expressive in expected:
    config = dataclasses.replace(
      tiny_config(), world=world.name, expressive=expressive
    )
    pretraining.load_set(config, '', print)
  assert asked == expected
  assert pretrain.PretrainConfig().world == worlds.DEFAULT


def test_heads_of_no_world_are_refused():
  config = dataclasses.replace(tiny_config(), world='peeple')
  with pytest.raises(ValueError, match="did you mean 'people'"):
    pretraining.load_set(config, '', print)
