"""FLOPs of matrix products in a traced program, loops counted in full.

XLA's own count has the body of a loop once, however often it runs. What a
program computes and nobody reads is left out, as XLA leaves it out: derivatives
that are written by hand have more than is asked for.
"""

from collections.abc import Callable, Iterator
import math
from typing import Any

import jax
from jax.interpreters import partial_eval


def count(function: Callable[..., Any], *arguments: Any) -> float:
  """Returns the FLOPs of all matrix products of `function(*arguments)`."""
  traced = jax.make_jaxpr(function)(*arguments).jaxpr
  read = [True] * len(traced.outvars)
  needed, _ = partial_eval.dce_jaxpr(traced, read)
  return _of_jaxpr(needed)


def _of_jaxpr(jaxpr: Any) -> float:
  total = 0.0
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      total += _of_product(equation)
    # Only a scan says how often it runs; no other loop has products here.
    times = equation.params.get('length', 1)
    inner = sum(_of_jaxpr(one) for one in _inner(equation.params))
    total += times * inner
  return total


def _of_product(equation: Any) -> float:
  (contracted, _), _ = equation.params['dimension_numbers']
  left = equation.invars[0].aval.shape
  depth = math.prod(left[axis] for axis in contracted)
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * depth


def _inner(value: Any) -> Iterator[Any]:
  """Yields the programs that the parameters of an operation hold."""
  if hasattr(value, 'eqns'):
    yield value
  elif hasattr(value, 'jaxpr'):
    yield value.jaxpr
  elif isinstance(value, dict):
    for one in value.values():
      yield from _inner(one)
  elif isinstance(value, tuple | list):
    for one in value:
      yield from _inner(one)
