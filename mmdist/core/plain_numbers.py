"""Numbers in what somebody wrote: a file of JSON, a flag."""

import math
from typing import Any


def is_finite(value: Any) -> bool:
  """Returns whether a value is a number that a float can hold.

  True and False are none, though Python takes them for 1 and 0.
  """
  if not isinstance(value, int | float) or isinstance(value, bool):
    return False
  try:
    return math.isfinite(value)
  except OverflowError:  # An integer of hundreds of digits.
    return False
