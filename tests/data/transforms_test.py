import json
import shutil

import pytest

from mmdist.core import errors
from mmdist.data import frames as frames_lib
from mmdist.data import multiview
from mmdist.data import transforms
from tests.data import small_sets


@pytest.fixture
def folder(tmp_path):
  return small_sets.write(tmp_path / 'set')


@pytest.fixture
def place(folder):
  return folder / '00000'


def edit(place, change, name='transforms.json'):
  small_sets.edit(place / name, change)


def held_out(place, number=0):
  return [f.name for f in transforms.read_subject(place, number) if f.held_out]


def trained(place):
  return [f.name for f in transforms.read_subject(place) if not f.held_out]


def names(*numbers):
  return [f'images/{number:03d}.png' for number in numbers]


def test_subjects_are_sorted_by_name(folder):
  (folder / '00001').rename(folder / 'zoe')
  (folder / '.hidden').mkdir()
  (folder / 'README.txt').write_text('')
  found = [place.name for place in transforms.find_subjects(folder)]
  assert found == ['00000', '00002', 'zoe']


def test_a_folder_with_a_file_of_its_own_is_one_subject(place):
  assert transforms.find_subjects(place) == [place]
  small_sets.as_blender(place)
  assert transforms.find_subjects(place) == [place]


def test_a_folder_that_is_no_set_says_what_is_expected(tmp_path):
  with pytest.raises(FileNotFoundError, match='no subject; expected .*json'):
    transforms.find_subjects(tmp_path)
  with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
    transforms.find_subjects(tmp_path / 'nowhere')


def test_a_file_is_no_folder(place):
  with pytest.raises(NotADirectoryError, match='give the folder it is in'):
    transforms.find_subjects(place / 'transforms.json')


def test_a_folder_that_is_no_subject_is_not_passed_over(folder):
  (folder / '00001' / 'transforms.json').unlink()
  with pytest.raises(FileNotFoundError, match='00001 has neither .*00000; add'):
    transforms.find_subjects(folder)


def test_nerfstudios_lists_say_what_is_held_out(place):
  lists = {
    'train_filenames': names(0, 2),
    'test_filenames': ['./' + names(1)[0]],
  }
  edit(place, lambda data: data.update(lists))
  assert (trained(place), held_out(place)) == (names(0, 2), names(1))


def test_validation_is_held_out_where_there_is_no_test(place):
  edit(place, lambda data: data.update(val_filenames=names(3)))
  assert (trained(place), held_out(place)) == (names(0, 1, 2), names(3))


def test_with_a_test_the_validation_pictures_are_left_out(place):
  lists = {'val_filenames': names(3), 'test_filenames': names(0)}
  edit(place, lambda data: data.update(lists))
  assert (trained(place), held_out(place)) == (names(1, 2), names(0))


@pytest.mark.parametrize(
  'lists, message',
  [
    ({'test_filenames': ['images/9.png']}, "names 'images/9.png', which no"),
    (
      {'train_filenames': names(0, 1), 'test_filenames': names(1)},
      "'images/001.png' is to be trained on and to be held out",
    ),
  ],
)
def test_lists_that_make_no_sense_are_named(place, lists, message):
  edit(place, lambda data: data.update(lists))
  with pytest.raises(ValueError, match=f'00000/transforms.json: .*{message}'):
    transforms.read_subject(place)


def test_blenders_test_file_is_held_out(place):
  small_sets.as_blender(place, num_test=2)
  assert held_out(place) == ['./images/000', './images/001']
  assert trained(place) == ['./images/002', './images/003']


def test_blenders_validation_is_only_read_where_there_is_no_test(place):
  small_sets.as_blender(place, num_test=2)
  test, val = (place / f'transforms_{name}.json' for name in ('test', 'val'))
  val.write_text('not looked at')
  assert len(held_out(place)) == 2
  test.rename(val)
  assert held_out(place) == ['./images/000', './images/001']


def test_transforms_json_goes_before_blenders_files(place, folder):
  shutil.copytree(place, folder / 'both')
  small_sets.as_blender(folder / 'both')
  shutil.copy(place / 'transforms.json', folder / 'both')
  assert trained(folder / 'both') == names(1, 2, 3)


def test_a_tenth_is_held_out_where_nothing_is_said(place):
  assert held_out(place) == names(0)
  assert held_out(place, number=6) == names(2)
  for num_frames in (2, 9, 10, 14, 57, 200):
    share = sorted(transforms.held_out_share(num_frames, 5))
    assert len(share) == max(1, num_frames // 10)
    gaps = [b - a for a, b in zip(share, share[1:])]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert set(share) <= set(range(num_frames))


def test_the_share_of_a_rig_is_that_of_procedural_heads():
  expected = multiview.held_out_cameras(30, 14)
  for number, camera in enumerate(expected):
    assert transforms.held_out_share(14, number) == {camera}


def test_one_picture_is_not_enough(place):
  edit(place, lambda data: data.update(frames=data['frames'][:1]))
  with pytest.raises(ValueError, match=r'has 1 picture\(s\) .* at least two'):
    transforms.read_subject(place)


@pytest.mark.parametrize(
  'text, message',
  [
    ('{', 'Expecting property name'),
    ('[]', "has no 'frames'"),
    ('{"frames": []}', "has no 'frames'"),
    ('{"frames": {}}', "has no 'frames'"),
    ('{"frames": [3]}', "frame 0 has no 'file_path'"),
    ('{"frames": [{"file_path": 3}]}', "frame 0 has no 'file_path'"),
    (b'\xff\xfe\x00', 'decode'),
  ],
)
def test_a_file_of_another_kind_is_named(place, text, message):
  data = text if isinstance(text, bytes) else text.encode()
  (place / 'transforms.json').write_bytes(data)
  with pytest.raises(ValueError, match=f'00000/transforms.json: .*{message}'):
    transforms.read_subject(place)


def test_a_picture_that_is_there_twice_is_named(place):
  edit(place, lambda data: data['frames'].append(data['frames'][1]))
  with pytest.raises(ValueError, match="'images/001.png' is there twice"):
    transforms.read_subject(place)


def test_a_file_may_begin_with_a_byte_order_mark(place):
  path = place / 'transforms.json'
  data = json.loads(path.read_text())
  path.write_text(json.dumps(data), encoding='utf-8-sig')
  assert len(transforms.read_subject(place)) == 4


# Of the file, and of one of its frames.
FIELDS = (
  ('frames', 'train_filenames', 'test_filenames', 'val_filenames'),
  ('file_path', 'mask_path', 'transform_matrix'),
)
OF_LENSES = (
  *('camera_model', 'w', 'h', 'fl_x', 'fl_y', 'camera_angle_x'),
  *('camera_angle_y', 'cx', 'cy', 'k1', 'k2', 'k3', 'k4', 'p1', 'p2'),
  *('distortion_params', 'is_fisheye'),
)
NUMBERS = (0, -1, 5, 1.5, float('nan'), float('inf'), 10**400)
OTHERS = (None, True, False, '', 'text', '1', 'a\0b', 'x' * 300)
TREES = ([], [5], [None], ['text'], [[1, 2], [3]], [[10**400] * 4] * 4)
TREES += ({}, {'a': 1}, [{'file_path': 5}], [[True] * 4] * 4, [['1'] * 4] * 4)


@pytest.mark.parametrize(
  'where, field',
  [('file', field) for field in FIELDS[0] + OF_LENSES]
  + [('frame', field) for field in FIELDS[1] + OF_LENSES],
)
def test_a_field_of_a_wrong_type_is_one_line(place, where, field):
  path = place / 'transforms.json'
  whole = path.read_text()
  for value in NUMBERS + OTHERS + TREES:
    data = json.loads(whole)
    (data if where == 'file' else data['frames'][0])[field] = value
    path.write_text(json.dumps(data))
    try:
      for frame in transforms.read_subject(place):
        frames_lib.read_lens(frame, 6, 6)
    except (errors.UserError, OSError) as error:
      assert '\n' not in str(error)
      assert 'transforms.json' in str(error) or isinstance(error, OSError)


@pytest.mark.parametrize('value', [5, 'images/000.png', {'a': 1}, [5], True])
@pytest.mark.parametrize('key', ['train_filenames', 'val_filenames'])
def test_a_list_of_names_that_is_none_is_named(place, key, value):
  edit(place, lambda data: data.update({key: value}))
  with pytest.raises(errors.UserError, match=f'{key} is .*; expected a list'):
    transforms.read_subject(place)


def rename(place, change, *lists):
  """Changes every `file_path`, and what the named lists say of the first."""

  def apply(data):
    for number, name in enumerate(lists):
      data[name] = [change(data['frames'][number]['file_path'])]
    for frame in data['frames']:
      frame['file_path'] = change(frame['file_path'])

  edit(place, apply)


@pytest.mark.parametrize(
  'change',
  [
    lambda name: name.replace('/', '\\'),
    lambda name: './' + name.removesuffix('.png'),
    lambda name: name.upper(),
    lambda name: 'C:\\set\\' + name.replace('/', '\\'),
    lambda name: name.removeprefix('images/'),
  ],
)
def test_a_set_of_another_tool_is_split_as_it_says(place, change):
  rename(place, change, 'train_filenames', 'val_filenames')
  frames = transforms.read_subject(place)
  found = {frame.picture.name: frame.held_out for frame in frames}
  assert found == {'000.png': False, '001.png': True}


def test_lists_may_write_a_name_in_another_way(place):
  edit(
    place,
    lambda data: data.update(
      train_filenames=['.\\images\\000'], test_filenames=['images/001.PNG']
    ),
  )
  frames = transforms.read_subject(place)
  assert [frame.picture.name for frame in frames] == ['000.png', '001.png']


@pytest.mark.parametrize(
  'name',
  ['./images/000.png', 'images\\000.png', 'images/000', 'Images/000.PNG'],
)
def test_a_picture_is_there_twice_however_it_is_written(place, name):
  def repeat(data):
    data['frames'].append({**data['frames'][0], 'file_path': name})

  edit(place, repeat)
  with pytest.raises(ValueError, match=r'is there twice; leave one out'):
    transforms.read_subject(place)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-be'])
def test_json_of_windows_is_read(place, encoding):
  path = place / 'transforms.json'
  path.write_text(path.read_text(), encoding=encoding)
  assert len(transforms.read_subject(place)) == 4


@pytest.mark.parametrize(
  'spoil',
  [lambda text: text[:-1] + ',}', lambda text: text.replace(']', ',]', 1)],
)
def test_a_comma_too_many_is_one_line(place, spoil):
  path = place / 'transforms.json'
  path.write_text(spoil(path.read_text().strip()))
  with pytest.raises(ValueError, match='line .* a comma too many') as error:
    transforms.read_subject(place)
  assert '\n' not in str(error.value) and str(path) in str(error.value)


def test_what_an_archive_brings_along_is_no_subject(folder):
  for name in ('__MACOSX', '@eaDir'):
    (folder / name).mkdir()
  assert len(transforms.find_subjects(folder)) == 3
