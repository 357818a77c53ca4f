"""What Ray's errors mean for a prior.

Which fault it is decides what is done about it: PriorFailed is the prior's own
error, which would come again; after PriorLost the prior is brought back; after
ReplyLost it is asked once more (`supervisor.py`).
"""

import re

import ray

from mmdist.distribution import actor as actor_lib
from mmdist.distribution import code_shipping
from mmdist.distribution import faults

_NO_MMDIST = r"No module named 'mmdist\b"


def cause_of(error: ray.exceptions.RayError) -> BaseException:
  """Returns what a call raised in the actor, or Ray's own error."""
  if isinstance(error, ray.exceptions.RayTaskError):
    return error.cause if error.cause is not None else error
  if _cannot_start(error) and re.search(_NO_MMDIST, str(error)):
    return code_shipping.OtherCode(
      'a worker has no mmdist, or a part of one; install the same there, or '
      'leave --ship_code on.'
    )
  return error


def fault_of(
  error: ray.exceptions.RayError,
  prior: str,
  step: int | None,
  deadline_s: float,
) -> faults.PriorFault:
  """Returns the fault that an error stands for.

  Args:
    error: of `ray.get`.
    prior: its name.
    step: of the request; None outside of any step.
    deadline_s: for how long the answer was waited for, in seconds.
  """
  kind: type[faults.PriorFault]
  if isinstance(error, ray.exceptions.RayTaskError):
    # The call raised in the actor, whose process lives.
    cause = cause_of(error)
    kind = faults.PriorFailed
    if isinstance(cause, actor_lib.OutOfStep):
      # Ray has restarted the process since it was last heard of: it answers,
      # but the proxy is gone. That is a loss like any other.
      kind = faults.PriorLost
    elif isinstance(cause, FloatingPointError):
      kind = faults.PriorNotFinite
    return kind(prior, step, faults.describe(cause))
  if isinstance(error, ray.exceptions.GetTimeoutError):
    return faults.PriorLost(prior, step, f'no answer within {deadline_s:g} s')
  if isinstance(error, ray.exceptions.ObjectLostError):
    lost = f'its answer was lost on the way ({type(error).__name__})'
    return faults.ReplyLost(prior, step, lost)
  cause = cause_of(error)
  if isinstance(cause, code_shipping.OtherCode):
    return faults.PriorFailed(prior, step, str(cause))
  if _cannot_start(error):
    # The usual reason is that its machine lacks a package. Another process
    # would fail like this one, so it is not started again.
    return faults.PriorFailed(
      prior, step, f'its process cannot start: {last_line(error)}'
    )
  # All other errors of Ray mean that the process is gone or cannot be reached,
  # and the remedy is the same.
  died = f'its process died ({type(error).__name__})'
  return faults.PriorLost(prior, step, died)


def _cannot_start(error: ray.exceptions.RayError) -> bool:
  if isinstance(error, ray.exceptions.RayActorError):
    return error.actor_init_failed
  return isinstance(error, ray.exceptions.RuntimeEnvSetupError)


def last_line(error: BaseException) -> str:
  """Returns the last error that is named in an error's text.

  The text may hold a traceback of another process, which ends with it.
  """
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  named = [
    line for line in lines if re.match(r'[\w.]*(Error|Exception)\b', line)
  ]
  return (named or lines or [type(error).__name__])[-1]
