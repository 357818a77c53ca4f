"""Files as other people's tools name them, found on this disk.

A `transforms.json` may have been written on Windows, on a disk that takes upper
and lower case for the same, or on another machine, and may leave a picture's
suffix or its folder away. And folders have files in them that no person put
there.
"""

from collections.abc import Iterator
import functools
import os
import pathlib
import posixpath
import re
import urllib.parse

from mmdist.core import errors

# Blender writes a picture's name without its suffix.
_SUFFIXES = ('', '.png', '.jpg', '.jpeg')
# Where most tools put the files of which they tell the name alone.
PICTURES, MASKS = 'images', 'masks'
_ABSOLUTE = re.compile(r'/|[A-Za-z]:/')
# What systems and programs leave: Windows, macOS, Synology, archives, editors
# of photos (whose changes are not in the picture), copies through Windows.
_LITTER = re.compile(
  r'\..*|ehthumbs\w*\.db|thumbs\.db|desktop\.ini|picasa\.ini|icon\r|__macosx'
  r'|@eadir|\$recycle\.bin|system volume information|.*\.(aae|xmp)'
  r'|.*:zone\.identifier',
  re.IGNORECASE,
)


def is_litter(path: pathlib.Path) -> bool:
  """Returns whether a file or folder is of a system's own, by its name."""
  return bool(_LITTER.fullmatch(path.name))


def normal(name: str) -> str:
  """Returns a name with slashes for backslashes, and without './' in it."""
  return posixpath.normpath(name.replace('\\', '/'))


def find(
  folder: pathlib.Path, name: str, usual: str = PICTURES
) -> pathlib.Path | None:
  """Returns the file that somebody's tool calls `name`; None without one.

  Args:
    folder: that the name is relative to. Of the path of another machine, as
      much of its end is taken as there is here.
    name: as it is written in a file.
    usual: folder in which a file is looked for of which the name alone is told.

  Raises:
    UserError: several files differ in upper and lower case only, and none is
      called as the name is written.
  """
  for spelling in _spellings(name, usual):
    for suffix in _SUFFIXES:
      found = folder / (spelling + suffix)
      if _is_file(found):
        return found
  for spelling in _spellings(name, usual):
    for suffix in _SUFFIXES:
      alike = _ignoring_case(folder, spelling + suffix)
      exact = spelling.rpartition('/')[2]
      alike = [one for one in alike if one.name.startswith(exact)] or alike
      if len(alike) > 1:
        raise errors.UserError(
          f"'{name}' may be {alike[0].name} or {alike[1].name} in "
          f'{alike[0].parent}, which differ in upper and lower case only; '
          'write the name as that of its file.'
        )
      if alike:
        return alike[0]
  return None


def missing(folder: pathlib.Path, name: str) -> str:
  """Returns what to say of a name for which `find` has no file."""
  path = folder / normal(name)
  if not path.suffix:
    path = path.with_name(path.name + '.png')
  stem = f'{path.stem}.'.casefold()
  for other in _listed(path.parent):
    if other.name.casefold().startswith(stem):
      return f'{path} is missing (there is {other.name})'
  return f'{path} is missing'


def _spellings(name: str, usual: str) -> Iterator[str]:
  """Yields what a name may be on this machine, the likeliest first."""
  yield name
  slashed = name.replace('\\', '/')
  if slashed.lower().startswith('file://'):
    slashed = urllib.parse.unquote(slashed[len('file://') :])
    slashed = re.sub(r'/(?=[A-Za-z]:/)', '', slashed, count=1)
  for spelling in dict.fromkeys([slashed, urllib.parse.unquote(slashed)]):
    yield spelling
    parts = spelling.strip('/').split('/')
    if _ABSOLUTE.match(spelling):
      yield from ('/'.join(parts[i:]) for i in range(1, len(parts)))
    elif len(parts) == 1:
      yield f'{usual}/{spelling}'


def _ignoring_case(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the files that a name is, but for upper and lower case."""
  places = [folder]
  if name.startswith('/'):
    places = [pathlib.Path('/')]
  for part in normal(name).strip('/').split('/'):
    if part in ('.', '..'):
      places = [place / part for place in places]
      continue
    places = [
      path
      for place in places
      for path in _listed(place)
      if path.name.casefold() == part.casefold()
    ]
  return [path for path in places if _is_file(path)]


def _is_file(path: pathlib.Path) -> bool:
  try:
    return path.is_file()
  except OSError:  # Such as a name that is too long.
    return False


def _listed(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
  """Returns what is in a folder, sorted; nothing if it cannot be read."""
  try:
    return _listed_at(folder, os.stat(folder).st_mtime_ns)
  except (OSError, ValueError):
    return ()


# A set may name thousands of files, each of which would list its folder.
@functools.lru_cache(maxsize=8)
def _listed_at(folder: pathlib.Path, changed: int) -> tuple[pathlib.Path, ...]:
  del changed  # A folder that has changed since is listed anew.
  return tuple(sorted(folder.iterdir()))
