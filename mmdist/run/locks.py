"""A lock file that one process at a time can hold, and folders that have one.

The lock is the system's (`flock`). The system releases it when the process
ends, even by SIGKILL, so a file that was left behind blocks nobody. The text in
the file only names the process that holds the lock.
"""

from collections.abc import Iterable, Iterator
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import warnings

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import strict_json

LOCK_NAME = '.lock'  # Of a folder in which one process works.
# Errors of file systems without locks, such as some of NFS and Lustre.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class InUse(errors.UserError):
  """Another process, or another part of this one, holds the lock."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike, flag: str) -> Iterator[None]:
  """Keeps others out of a folder inside the block; makes the folder.

  A folder that was made for it, and is empty afterwards, is removed.

  Args:
    folder: of a run or of a training.
    flag: that names it on a command line, such as '--workdir'.

  Raises:
    InUse: another process has it; names its host and process.
    PermissionError: nothing can be written there, for whatever reason.
  """
  folder = local_paths.local(folder)
  missing = [p for p in (folder, *folder.parents) if not p.exists()]
  with contextlib.ExitStack() as stack:
    stack.callback(_remove_empty, missing)
    with writing(folder, flag):
      folder.mkdir(parents=True, exist_ok=True)
      stack.enter_context(holding(folder / LOCK_NAME))
    yield


def _remove_empty(folders: Iterable[pathlib.Path]) -> None:
  for folder in folders:  # The innermost first.
    try:
      folder.rmdir()
    except OSError:
      return


@contextlib.contextmanager
def writing(folder: pathlib.Path, flag: str) -> Iterator[None]:
  """Turns an error of writing a folder into one line.

  Args:
    folder: what is written.
    flag: that names it on a command line.
  """
  try:
    yield
  except OSError as error:  # Such as a full disk, or one that is read-only.
    raise PermissionError(
      f'{folder} cannot be written ({error.strerror}); give {flag} another '
      'folder.'
    ) from error


@contextlib.contextmanager
def holding(path: str | os.PathLike) -> Iterator[None]:
  """Holds the lock `path` inside the block; the file is gone afterwards.

  A file system without locks causes a warning, not an error: on some clusters
  no large disk has locks, and the person who starts a run cannot change that.

  Args:
    path: the file; its folder must exist.

  Raises:
    InUse: in one line, by the host and the process that hold it.
    OSError: the file cannot be written.
  """
  path = pathlib.Path(path)
  descriptor, locked = _acquire(path)
  try:
    _write_holder(descriptor)
    yield
  finally:
    # The file is removed while the lock is still held, so that nobody can lock
    # a file that is about to vanish. If `path` is another file by now, it
    # belongs to whoever took the folder over, and stays.
    if locked and _is_at(path, descriptor):
      path.unlink(missing_ok=True)
    os.close(descriptor)


def _acquire(path: pathlib.Path) -> tuple[int, bool]:
  """Returns the open file, and whether it could be locked."""
  while True:
    # Python's descriptors are not passed on to other programs, so no child can
    # keep the lock when this process is gone.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o644)
    try:
      locked = _lock(path, descriptor)
    except BaseException:
      os.close(descriptor)
      raise
    if not locked or _is_at(path, descriptor):
      return descriptor, locked
    os.close(descriptor)  # The last holder removed it before we locked it.


def _lock(path: pathlib.Path, descriptor: int) -> bool:
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise InUse(
      f'{path.parent} is in use by {_describe_holder(path)}; wait until that '
      'has ended, or give another folder.'
    ) from None
  except OSError as error:
    if error.errno not in _NO_LOCKS:
      raise
    warnings.warn(
      f'{path.parent} is on a file system without locks ({error.strerror}); '
      'see to it that nothing else writes there.',
      stacklevel=2,
    )
    return False
  return True


def _is_at(path: pathlib.Path, descriptor: int) -> bool:
  """Returns whether the open file is the one that `path` names."""
  try:
    return os.path.samestat(os.fstat(descriptor), os.lstat(path))
  except FileNotFoundError:
    return False


def _write_holder(descriptor: int) -> None:
  holder = {'host': socket.gethostname(), 'pid': os.getpid()}
  os.ftruncate(descriptor, 0)
  os.pwrite(descriptor, strict_json.dumps(holder).encode() + b'\n', 0)


def _describe_holder(path: pathlib.Path) -> str:
  try:
    holder = json.loads(path.read_text(encoding='utf-8'))
    return f'process {int(holder["pid"])} on host {str(holder["host"])[:255]}'
  # The holder has not written it yet, or something else has written it.
  except (OSError, ValueError, KeyError, TypeError):
    return 'another process'
