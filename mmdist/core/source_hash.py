"""Which code a process runs: the version, and a hash of the sources.

Two machines with one version may still have two codes, as when a checkout on
one of them was edited. A run that mixes them has no meaning, so the learner
tells its code to the processes that it starts, and they compare.
"""

import functools
import hashlib
import os
import pathlib

from mmdist.core import version

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# Folders that lie beside the package in a checkout, and inside it once it is
# installed. They make configurations; what is computed from one is not theirs.
BESIDE = ('launchers', 'experiments')


def digest_sources(package: str | os.PathLike) -> str:
  """Returns a sha256 over all `*.py` of a package, by path and content.

  A wheel and the checkout that it was built from have the same: folders of
  `BESIDE` are left out. So is data, since weights have hashes of their own.
  """
  package = pathlib.Path(package)
  content = hashlib.sha256()
  for path in sorted(package.rglob('*.py')):
    parts = path.relative_to(package).parts
    if parts[0] in BESIDE:
      continue
    file = hashlib.sha256(path.read_bytes()).hexdigest()
    content.update(f'{"/".join(parts)} {file}\n'.encode())
  return content.hexdigest()


@functools.cache
def name_code() -> str:
  """Returns the name of this process's code, e.g. '0.2.0 (3f2a8c10b7de)'.

  The sources are read once, since a process keeps the code it began with.
  """
  return f'{version.VERSION} ({digest_sources(PACKAGE)[:12]})'
