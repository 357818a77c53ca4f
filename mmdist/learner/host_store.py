"""Small texts that all hosts of a learner can read; JAX's processes share them.

JAX keeps them in its coordinator, on host 0, for its own purposes, and has no
public door to them. Orbax goes in by the same one.
"""

import contextlib
import threading
import time
from typing import Any

import jax
from jax._src import distributed

_SPACE = 'mmdist/learner'

# What a call of this module raises if host 0 cannot be reached.
ERRORS = (jax.errors.JaxRuntimeError,)

# The answer to the last host that leaves may still be on its way.
_ANSWERING_S = 0.2


def _client() -> Any:
  return distributed.global_state.client


def put(name: str, text: str, *, again: bool = False) -> None:
  """Writes a text.

  Args:
    name: of it, such as 'alive/3'.
    text: its content.
    again: whether one of that name may be there already.
  """
  _client().key_value_set(f'{_SPACE}/{name}', text, allow_overwrite=again)


def get(name: str, within_s: float) -> str | None:
  """Returns a text once it is there; None if it is not, within so long."""
  try:
    found: str = _client().blocking_key_value_get(
      f'{_SPACE}/{name}', int(1000 * within_s)
    )
  except jax.errors.JaxRuntimeError as error:
    if 'DEADLINE_EXCEEDED' not in str(error):
      raise
    return None
  return found


def drop(name: str) -> None:
  """Removes a text."""
  _client().key_value_delete(f'{_SPACE}/{name}')


def by_rank(folder: str) -> dict[int, str]:
  """Returns rank -> text of all 'FOLDER/RANK'."""
  found = _client().key_value_dir_get(f'{_SPACE}/{folder}/')
  return {int(key.rsplit('/', 1)[1]): text for key, text in found}


def coordinator() -> str:
  """Returns the HOST:PORT of the coordinator."""
  return str(distributed.global_state.coordinator_address)


def me() -> tuple[int, int]:
  """Returns which process this is, and of how many; JAX is not started."""
  state = distributed.global_state
  return state.process_id, state.num_processes


def leave(within_s: float) -> None:
  """Leaves JAX's processes; host 0 as the last, since the others' way is there.

  JAX ends a process whose coordinator is gone before it has said goodbye.

  Args:
    within_s: for which host 0 waits for the others; 0 if one of them is lost.
  """
  rank, count = me()
  if rank == 0 and count > 1 and within_s > 0:
    # Comes back when no other host is connected; it has no limit of its own.
    waiting = threading.Thread(target=_await_others, daemon=True)
    waiting.start()
    waiting.join(within_s)
    time.sleep(_ANSWERING_S)
  with contextlib.suppress(*ERRORS):
    jax.distributed.shutdown()


def _await_others() -> None:
  with contextlib.suppress(*ERRORS):
    _client().get_live_nodes(list(range(me()[1])))
