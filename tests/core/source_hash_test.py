import shutil

from mmdist.core import source_hash
from mmdist.core import version


def write(folder, files):
  for name, text in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return folder


def test_the_hash_follows_what_a_source_says_and_what_it_is_called(tmp_path):
  files = {'a.py': 'x = 1', 'room/b.py': 'y = 2'}
  same = source_hash.digest_sources(write(tmp_path / 'first', files))
  assert same == source_hash.digest_sources(write(tmp_path / 'second', files))
  for number, other in enumerate(
    [
      {'a.py': 'x = 2', 'room/b.py': 'y = 2'},
      {'c.py': 'x = 1', 'room/b.py': 'y = 2'},
      {'a.py': 'x = 1', 'b.py': 'y = 2'},
      {'a.py': 'x = 1'},
    ]
  ):
    folder = write(tmp_path / f'other{number}', other)
    assert source_hash.digest_sources(folder) != same


def test_a_wheel_has_the_hash_of_its_checkout(tmp_path):
  # The wheel has the commands inside, and a process leaves compiled files.
  installed = tmp_path / 'mmdist'
  ignored = shutil.ignore_patterns('assets', '__pycache__')
  shutil.copytree(source_hash.PACKAGE, installed, ignore=ignored)
  write(installed, {'launchers/a.py': '', 'experiments/b.py': ''})
  write(installed, {'assets/model.json': '{}', '__pycache__/a.pyc': ''})
  assert source_hash.digest_sources(installed) == source_hash.digest_sources(
    source_hash.PACKAGE
  )


def test_the_code_is_called_by_its_version_and_hash():
  digest = source_hash.digest_sources(source_hash.PACKAGE)
  assert source_hash.name_code() == f'{version.VERSION} ({digest[:12]})'
