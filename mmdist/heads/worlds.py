"""The embedded worlds: what heads there are, in words and in pictures.

A world is a value that is passed to whatever draws, describes or judges heads.
Files made from heads record its name; files without one are older than the
second world, and of clay. Nothing here imports JAX.
"""

from collections.abc import Callable, Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

from mmdist.core import names
from mmdist.heads import head_records
from mmdist.heads import judge_questions
from mmdist.heads import kinship
from mmdist.heads import rigs
from mmdist.heads import sentences
from mmdist.heads import traits
from mmdist.heads.clay import clay_captions
from mmdist.heads.clay import clay_questions
from mmdist.heads.clay import clay_siblings
from mmdist.heads.clay import modelling
from mmdist.heads.people import captions as people_captions
from mmdist.heads.people import persons
from mmdist.heads.people import questions as people_questions
from mmdist.heads.people import siblings as people_siblings

KEY = 'world'  # In files.
DEFAULT = 'clay'  # The shipped priors and the shipped judge know it.
_SETTINGS = 'mmdist.json'  # Of a prior's directory.


@dataclasses.dataclass(frozen=True)
class World:
  """One embedded world.

  Attributes:
    name: by which files and flags know it.
    captions: its sentences.
    questions: for its judge.
    siblings: its families.
    make_head: `(attributes, rng) -> Head`; attributes are not checked.
    render_heads: `(heads, views, resolution, supersampling, num_threads) ->
      HeadPictures`, head i from view i.
    rig: the cameras that see every subject of a multi-view set.
    views_per_head: pictures of each head in a shard: more than one where to
      build a head takes longer than to look at it.
    supersampling: rays per pixel along each axis, where nobody asks for more.
  """

  name: str
  captions: sentences.Captions
  questions: judge_questions.JudgeQuestions
  siblings: kinship.Kinship
  make_head: Callable[..., head_records.Head]
  render_heads: Callable[..., head_records.HeadPictures]
  rig: tuple[rigs.Camera, ...] = rigs.WHOLE_HEADS
  views_per_head: int = 1
  supersampling: int = 1

  @property
  def attributes(self) -> traits.Traits:
    """Which heads there are, and how they are drawn."""
    return self.captions.wording.traits


_WORLDS = {
  world.name: world
  for world in (
    World(
      'clay',
      clay_captions.CAPTIONS,
      clay_questions.QUESTIONS,
      clay_siblings.SIBLINGS,
      modelling.make_head,
      modelling.render_heads,
    ),
    World(
      'people',
      people_captions.CAPTIONS,
      people_questions.QUESTIONS,
      people_siblings.SIBLINGS,
      persons.make_head,
      persons.render_heads,
      rig=rigs.WHOLE_HEADS + rigs.CLOSE_UPS,
      views_per_head=8,
      supersampling=2,
    ),
  )
}
NAMES = tuple(_WORLDS)


def get(name: str) -> World:
  """Returns the world of a name; UserError, with the nearest, for others."""
  names.check_choice(KEY, name, _WORLDS)
  return _WORLDS[name]


def recorded(record: Mapping[str, Any]) -> World:
  """Returns the world that a file's content names; clay if it names none.

  Raises:
    UserError: it names none of the worlds.
  """
  return get(record.get(KEY, DEFAULT))


def name_in(settings: Mapping[str, Any]) -> str | None:
  """Returns the name of a prior's world by its `mmdist.json`.

  It may be a world that is no more: what a prior has learned there can be gone
  on from.

  Args:
    settings: the content; empty if there is no such file.

  Returns:
    The name; None for priors that were not made here, such as Stable
    Diffusion: they know more than these worlds.
  """
  return settings.get(KEY, DEFAULT) if settings else None


def of_settings(settings: Mapping[str, Any]) -> World | None:
  """Returns the world of a prior; None as `name_in` does.

  Raises:
    UserError: it names none of the worlds.
  """
  name = name_in(settings)
  return None if name is None else get(name)


def name_in_directory(directory: str | os.PathLike) -> str | None:
  """Returns the name of a prior's world by its directory; see `name_in`."""
  try:
    text = (pathlib.Path(directory) / _SETTINGS).read_text('utf-8')
    settings = json.loads(text)
  except (OSError, ValueError):
    return None  # What is wrong with a file is told where a prior is opened.
  return name_in(settings) if isinstance(settings, dict) else None


def of_directory(directory: str | os.PathLike) -> World | None:
  """Returns the world of a prior by its directory; see `of_settings`."""
  name = name_in_directory(directory)
  return None if name is None else get(name)
