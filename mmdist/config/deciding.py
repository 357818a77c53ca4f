"""Which fields of a configuration decide what a run becomes.

Those that may change freely on resuming (`mmdist.config.changes`) decide
nothing, and neither does what nobody reads: a concept's name is for people, and
the prompt is asked only where there are no concepts.
"""

import re
from typing import Any

from mmdist.config import changes
from mmdist.config import schema
from mmdist.config import serialization

_NAME_OF_A_CONCEPT = re.compile(r'concepts\[\d+\]\.name')


def why_idle(config: schema.RunConfig, path: str) -> str:
  """Returns why a field decides nothing about the avatar; '' if it does.

  Args:
    config: of a run.
    path: of a field, as `serialization.flatten` has it.
  """
  if path == 'prompt' and config.concepts:
    return 'the concepts are asked in its place'
  if _NAME_OF_A_CONCEPT.fullmatch(path):
    return 'it is a name for people'
  if changes.is_free(path):
    return 'it is not about the avatar'
  return ''


def deciding_fields(config: schema.RunConfig) -> dict[str, Any]:
  """Returns path -> value of the fields that decide a run.

  Runs in which these are equal are the same run.
  """
  return {
    path: value
    for path, value in serialization.flatten(config).items()
    if not why_idle(config, path)
  }
