"""Which errors a person at the terminal can mend, and the line about each."""

import errno

from mmdist.core import full_disk
from mmdist.distribution import faults
from mmdist.objectives import score_requests

# What a person can do something about. Anything else is our mistake, and the
# traceback is what we need to see.
EXPECTED = (
  ValueError,
  FileNotFoundError,
  FileExistsError,
  NotADirectoryError,
  IsADirectoryError,
  PermissionError,
  FloatingPointError,
  faults.DistributionError,
  score_requests.NonFiniteAnswer,
)


def explain(error: Exception) -> str | None:
  """Returns the line for a person; None if the error is our mistake."""
  if isinstance(error, OSError) and _says_more(error):
    return one_line(error)
  if full_disk.is_meant(error):
    return (
      f'{one_line(error)}: the disk is full. What was saved before is sound, '
      'the last checkpoint too; free some space and give the same command '
      'again, which goes on from there.'
    )
  if isinstance(error, OSError) and error.errno == errno.EROFS:
    return f'{one_line(error)}; make it writable, or give another folder.'
  return one_line(error) if isinstance(error, EXPECTED) else None


def _says_more(error: OSError) -> bool:
  """Returns whether an error explains itself, as those of checkpointing do."""
  if isinstance(error, EXPECTED):
    return True
  return (
    error.errno in full_disk.ERRNOS and error.strerror not in full_disk.TEXTS
  )


def one_line(error: BaseException) -> str:
  """Returns the error as a line; an OSError says which file, too."""
  return 'error: ' + (' '.join(str(error).split()) or type(error).__name__)
