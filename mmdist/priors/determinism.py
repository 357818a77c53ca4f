"""Operations of torch that give the same bits each time they are asked."""

from collections.abc import Callable, Iterator
import contextlib
import logging
from typing import TypeVar

import torch

_T = TypeVar('_T')
# What torch says of an operation that has no such form, and of a user's
# CUBLAS_WORKSPACE_CONFIG that allows none.
_REFUSALS = ('deterministic implementation', 'is not deterministic because')


class Strict:
  """Calls a prior's networks strictly, or, where they cannot be, says so once.

  With warnings alone, as `configure_torch` leaves torch, attention on CUDA is
  not deterministic. Strictness is the process's, which may run code of others
  as well, so it lasts only as long as a call.
  """

  def __init__(self, name: str):
    """Makes it for the prior of that name."""
    self._name = name
    self._is_possible = True

  def call(self, function: Callable[[], _T]) -> _T:
    """Returns what `function` returns.

    It may be called twice, so it must not have changed anything when one of its
    operations is refused.
    """
    if self._is_possible:
      try:
        with _strictly():
          return function()
      except RuntimeError as error:
        if not any(words in str(error) for words in _REFUSALS):
          raise
        self._is_possible = False
        logging.warning(
          "answers of prior '%s' may differ in their last bits from one time "
          'to the next, and a resumed run from one that was not stopped: %s',
          self._name,
          str(error).split(',')[0],
        )
    return function()


@contextlib.contextmanager
def _strictly() -> Iterator[None]:
  """Makes torch refuse operations that are not deterministic."""
  is_on = torch.are_deterministic_algorithms_enabled()
  only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
  torch.use_deterministic_algorithms(True)
  try:
    yield
  finally:
    torch.use_deterministic_algorithms(is_on, warn_only=only_warns)
