"""Faults that happen exactly where and when a test says, once.

A fault is named by (who, step, point) and leaves a file when it fires, so that
a test can assert that it did, and a restarted process knows that it has.
"""

from collections.abc import Sequence
import dataclasses
import functools
import os
import pathlib
import signal

import numpy as np

from mmdist.core import messages

# What a fault does to the process, or to the answer, at its point.
SIGNALS = {'kill': signal.SIGKILL, 'stop': signal.SIGSTOP}
POINTS = ('score:before', 'score:after', 'fit:before', 'fit:after')


@dataclasses.dataclass(frozen=True)
class Fault:
  """What goes wrong.

  Attributes:
    who: name of the prior.
    step: the optimisation step; -1 is every step.
    point: one of `POINTS`, or 'save:before', 'restore:after', 'build'.
    kind: 'kill', 'stop', 'raise', 'nan' or 'inf'.
    times: how often; 0 is for ever.
    first_view: of the part of the step that it is in; -1 is any, and of a fit
      it is that of the last part.
  """

  who: str
  step: int
  point: str
  kind: str = 'kill'
  times: int = 1
  first_view: int = -1


class FaultyPrior:
  """A prior that has its faults."""

  def __init__(self, inner, faults: Sequence[Fault], folder: pathlib.Path):
    self._inner = inner
    self._faults = faults
    self._folder = folder
    self._step = -1
    self._first_view = -1

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    self._step, self._first_view = request.step, request.first_view
    self._fire('score:before')
    reply = self._inner.score(request)
    number = {'nan': np.nan, 'inf': np.inf}.get(self._fire('score:after'))
    if number is not None:
      broken = np.array(reply.cotangent)
      broken[0, 0, 0, 0] = number
      reply = dataclasses.replace(reply, cotangent=broken)
    return reply

  def fit(self):
    self._fire('fit:before')
    metrics = self._inner.fit()
    self._fire('fit:after')
    return metrics

  def save_proxy(self) -> messages.ProxyState:
    self._fire('save:before')
    return self._inner.save_proxy()

  def restore_proxy(self, state: messages.ProxyState) -> None:
    self._inner.restore_proxy(state)
    self._fire('restore:after')

  def _fire(self, point: str) -> str:
    """Lets the faults of this point happen; returns the kind that did."""
    faults = [
      one for one in self._faults if one.first_view in (-1, self._first_view)
    ]
    return fire(faults, self._folder, self._step, point)


def fire(
  faults: Sequence[Fault], folder: pathlib.Path, step: int, point: str
) -> str:
  """Lets a fault of this step and point happen, unless it has; its kind."""
  for fault in faults:
    if fault.point != point or fault.step not in (step, -1):
      continue
    if not _leave_mark(fault, folder):
      continue
    if fault.kind in SIGNALS:
      os.kill(os.getpid(), SIGNALS[fault.kind])
    if fault.kind == 'raise':
      raise FloatingPointError(f'step {step}: not finite')
    return fault.kind
  return ''


def _leave_mark(fault: Fault, folder: pathlib.Path) -> bool:
  """Notes that a fault fires; False if it has fired as often as it may."""
  for number in range(fault.times or 10**6):
    try:
      (folder / mark_of(fault, number)).touch(exist_ok=False)
      return True
    except FileExistsError:
      continue
  return False


def mark_of(fault: Fault, number: int = 0) -> str:
  name = f'{fault.who}.{fault.step}.{fault.point}.{fault.kind}.{number}'
  return name.replace(':', '-')


def assert_fired(faults: Sequence[Fault], folder: pathlib.Path) -> None:
  """Fails for a fault that never happened: its test would prove nothing."""
  for fault in faults:
    for number in range(fault.times or 1):
      assert (folder / mark_of(fault, number)).exists(), fault


def with_faults(
  recipe: messages.PriorRecipe, faults: Sequence[Fault], folder: pathlib.Path
) -> messages.PriorRecipe:
  """Returns the recipe of a prior that has those of the faults that name it."""
  own = tuple(fault for fault in faults if fault.who == recipe.spec.name)
  build = functools.partial(
    build_faulty, build=recipe.build, faults=own, folder=folder
  )
  return dataclasses.replace(recipe, build=build)


def build_faulty(spec, *, build, faults, folder):
  fire(faults, folder, -1, 'build')
  return FaultyPrior(build(spec), faults, folder)
