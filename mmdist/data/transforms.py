"""The JSON files of nerfstudio's and Blender's sets, checked.

Owns what `transforms.json` says of one subject: which pictures there are, from
where and through which lens they were taken, and which are kept for testing.
Reading the pictures belongs to `mmdist.data.picture_files`.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.data import file_names
from mmdist.data import frames as frames_lib

NAME = 'transforms.json'
TRAIN_NAME = 'transforms_train.json'
# What is measured: the first that a subject has.
HELD_OUT_NAMES = ('transforms_test.json', 'transforms_val.json')
HELD_OUT_KEYS = ('test_filenames', 'val_filenames')


def find_subjects(folder: str | os.PathLike) -> list[pathlib.Path]:
  """Returns the folders of subjects, by name; `folder` itself may be one.

  Raises:
    FileNotFoundError: there is none, or a folder beside subjects is none.
    NotADirectoryError: `folder` is a file.
  """
  folder = pathlib.Path(folder)
  if not folder.exists():
    raise FileNotFoundError(f'{folder} does not exist; give a folder of sets.')
  if not folder.is_dir():
    raise NotADirectoryError(f'{folder} is a file; give the folder it is in.')
  if _is_subject(folder):
    return [folder]
  places = [
    path
    for path in sorted(folder.iterdir())
    if path.is_dir() and not file_names.is_litter(path)
  ]
  others = [place for place in places if not _is_subject(place)]
  if len(others) == len(places):
    raise FileNotFoundError(
      f'{folder} holds no subject; expected {folder}/*/{NAME}, or '
      f"{TRAIN_NAME} as in Blender's sets."
    )
  if others:
    raise FileNotFoundError(
      f'{others[0]} has neither {NAME} nor {TRAIN_NAME}, unlike {folder}/'
      f'{next(p for p in places if p not in others).name}; add it, or move the '
      'folder away.'
    )
  return places


def read_subject(
  place: pathlib.Path, number: int = 0
) -> list[frames_lib.Frame]:
  """Reads which pictures one subject has.

  `transforms.json` goes before Blender's files of splits. Held out are the
  test pictures, or those of validation if there are none; with neither, a
  tenth, see `held_out_share`.

  Args:
    place: the subject's folder.
    number: which subject it is; decides the share that is held out.

  Raises:
    FileNotFoundError: a picture or a mask is missing.
    UserError: the file cannot be understood, or asks for what we cannot do.
  """
  if (place / NAME).is_file():
    frames = _read_file(place / NAME)
  else:
    held_out = [place / n for n in HELD_OUT_NAMES if (place / n).is_file()][:1]
    frames = _read_file(place / TRAIN_NAME)
    frames += [
      dataclasses.replace(frame, held_out=True)
      for path in held_out
      for frame in _read_file(path)
    ]
  if not any(frame.held_out for frame in frames):
    share = held_out_share(len(frames), number)
    frames = [
      dataclasses.replace(frame, held_out=i in share)
      for i, frame in enumerate(frames)
    ]
  _check_split(frames)
  return frames


def held_out_share(num_frames: int, number: int) -> set[int]:
  """Returns a tenth of the frames, at least one, evenly spaced.

  They begin with another frame for every subject, so that subjects of one rig
  together leave out every place, as `multiview.held_out_cameras` does.
  """
  count = max(1, num_frames // 10)
  return {(number + i * num_frames // count) % num_frames for i in range(count)}


def _is_subject(place: pathlib.Path) -> bool:
  return any((place / name).is_file() for name in (NAME, TRAIN_NAME))


def _read_file(path: pathlib.Path) -> list[frames_lib.Frame]:
  """Reads the frames of one file, those of no split left out."""
  try:
    data = strict_json.read(path)
  except ValueError as error:
    raise errors.UserError(f'{path}: it {error}.') from error
  try:
    entries = data.get('frames') if isinstance(data, Mapping) else None
    if not isinstance(entries, list) or not entries:
      raise errors.UserError("has no 'frames'; is it of another kind?")
    for number, entry in enumerate(entries):
      if not isinstance(entry, Mapping) or not isinstance(
        entry.get('file_path'), str
      ):
        raise errors.UserError(f"frame {number} has no 'file_path'.")
    names = [entry['file_path'] for entry in entries]
    files = [_identify(path.parent, name) for name in names]
    seen = set[str]()
    for name, file in zip(names, files):
      if file in seen:
        raise errors.UserError(f"'{name}' is there twice; leave one out.")
      seen.add(file)
    splits = _read_splits(data, files, path.parent)
  except ValueError as error:
    raise errors.UserError(f'{path}: {error}') from error
  return [
    frames_lib.read_frame(path, data, entry, split == 'held out')
    for entry, split in zip(entries, splits)
    if split
  ]


def _identify(folder: pathlib.Path, name: str) -> str:
  """Returns the same for every name of a file, also of one that is missing."""
  found = file_names.find(folder, name)
  return os.path.normpath(found or folder / file_names.normal(name))


def _read_splits(
  data: Mapping[str, Any], frames: list[str], folder: pathlib.Path
) -> list[str]:
  """Returns 'train', 'held out' or '' for every frame, as nerfstudio does.

  Args:
    data: the whole file.
    frames: which file each frame is, see `_identify`.
    folder: that names are relative to.
  """
  lists: dict[str, dict[str, str]] = {}
  for key in ('train_filenames', *HELD_OUT_KEYS):
    listed = data.get(key)
    if listed is None:
      listed = []
    if not isinstance(listed, list) or not all(
      isinstance(name, str) for name in listed
    ):
      raise errors.UserError(
        f"{key} is {listed!r:.60}; expected a list of frames' file_path."
      )
    lists[key] = {_identify(folder, name): name for name in listed}
  for key, files in lists.items():
    unknown = sorted(files[file] for file in files.keys() - set(frames))
    if unknown:
      raise errors.UserError(
        f"{key} names '{unknown[0]}', which no frame has as its file_path."
      )
  held_out = next((lists[key] for key in HELD_OUT_KEYS if lists[key]), {})
  trained = lists['train_filenames']
  both = sorted(trained[file] for file in trained.keys() & held_out.keys())
  if both:
    raise errors.UserError(
      f"'{both[0]}' is to be trained on and to be held out; choose one."
    )
  rest = set(frames).difference(*(lists[key] for key in HELD_OUT_KEYS))
  train = set(trained) or rest
  return [
    'held out' if file in held_out else 'train' if file in train else ''
    for file in frames
  ]


def _check_split(frames: list[frames_lib.Frame]) -> None:
  num_held_out = sum(frame.held_out for frame in frames)
  if num_held_out == len(frames):
    raise errors.UserError(
      f'{frames[0].source} has {len(frames)} picture(s) and leaves none to '
      'train on; give at least two, one of them to hold out.'
    )
