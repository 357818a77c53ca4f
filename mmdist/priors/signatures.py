"""What classes of diffusers take where a config is silent."""

import inspect
from typing import Any


def defaults_of(kind: type) -> dict[str, Any]:
  """Returns the arguments of a class that have a default, with it."""
  parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
  return {
    key: parameter.default
    for key, parameter in parameters.items()
    if parameter.default is not inspect.Parameter.empty
  }
