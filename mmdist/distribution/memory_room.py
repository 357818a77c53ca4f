"""Whether the machines of a cluster have memory for priors, before they load.

What is free on another machine, and on the GPU that Ray gives out there, only a
process there can tell. So each actor is asked before it builds its priors, and
what the actors of one device need is added up.
"""

from collections.abc import Callable, Mapping
import logging
from typing import Any

import ray

from mmdist.distribution import memory_shares
from mmdist.distribution import ray_errors
from mmdist.distribution import waiting

_SAY_EVERY_S = 30.0


def check(
  actors: Mapping[Any, Any],
  looks: Mapping[Any, memory_shares.Look],
  deadline_s: float,
  check_stop: Callable[[], None],
) -> None:
  """Has every actor look around, and checks that all priors fit.

  An actor that cannot look is left out: what is wrong with it is found, and
  said, when it is to build its priors.

  Args:
    actors: Ray's handles of `actor.PriorActor`.
    looks: by the same keys, what each is to call.
    deadline_s: for how long to wait for each.
    check_stop: called now and then; may raise.

  Raises:
    UserError: in one line, which priors do not fit where.
  """
  asked = {key: actors[key].call.remote(look) for key, look in looks.items()}
  patience = waiting.Patience(_SAY_EVERY_S)

  def say() -> None:
    if took := patience.due():
      logging.warning('actors look for memory since %s', took)

  shares: list[memory_shares.Share] = []
  for reference in asked.values():
    try:
      shares += waiting.get(reference, deadline_s, check_stop, say)
    except ray.exceptions.RayError as error:
      logging.info('memory not known: %s', ray_errors.last_line(error))
  memory_shares.check(shares)
