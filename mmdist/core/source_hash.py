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
# Of an installed package; in a checkout they lie beside it. Neither decides
# what is computed, once a configuration is there.
_LEFT_OUT = ('launchers', 'experiments')


def digest_sources(package: str | os.PathLike) -> str:
  """Returns a sha256 over all `*.py` of a package, by path and content.

  A wheel and the checkout that it was built from have the same. Data is left
  out: weights have hashes of their own.
  """
  package = pathlib.Path(package)
  content = hashlib.sha256()
  for path in sorted(package.rglob('*.py')):
    parts = path.relative_to(package).parts
    if parts[0] in _LEFT_OUT:
      continue
    file = hashlib.sha256(path.read_bytes()).hexdigest()
    content.update(f'{"/".join(parts)} {file}\n'.encode())
  return content.hexdigest()


@functools.cache
def name_code() -> str:
  """Returns what the code of this process is called: '0.2.0 (3f2a8c10b7de)'.

  Read once: a process goes on with the code that it began with.
  """
  return f'{version.VERSION} ({digest_sources(PACKAGE)[:12]})'
