"""Checks the shapes of arrays, with one form of error message."""

from typing import Any

from mmdist.core import errors


def check_shape(name: str, array: Any, expected: tuple) -> None:
  """Raises UserError unless `array.shape` matches `expected`.

  Args:
    name: what the reader of the message calls the array.
    array: anything with a shape.
    expected: per axis an int, or a letter that stands for any size and must
      mean the same size wherever it appears twice.
  """
  sizes: dict[str, int] = {}
  shape = tuple(array.shape)
  fits = len(shape) == len(expected)
  for size, want in zip(shape, expected):
    want = sizes.setdefault(want, size) if isinstance(want, str) else want
    fits = fits and size == want
  if not fits:
    wanted = ', '.join(str(axis) for axis in expected)
    raise errors.UserError(f'{name} has shape {shape}; expected [{wanted}].')
