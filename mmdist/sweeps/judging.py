"""What a cell became: its picture, and what the judge sees in it.

Owns `cells/NAME.json` and `cells/NAME.png`, which are made once for each
checkpoint and judge.
"""

from collections.abc import Mapping, Sequence
import functools
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.core import strict_json
from mmdist.core import tables
from mmdist.evaluation import agreement
from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import known_heads
from mmdist.evaluation import metrics
from mmdist.learner import start
from mmdist.nerf import images
from mmdist.results import turntable
from mmdist.run import opening
from mmdist.sweeps import cells as cells_lib
from mmdist.sweeps import folder

PICTURE = 160  # Pixels of a side of the contact sheet's pictures.
_KEYS = {'step', 'judge', 'asked', 'picture', 'sees', 'saturation', 'detail'}
_OF_SHAPE = {'shape_agreement', 'normal_noise_deg'}


def concepts_of(
  cells: Sequence[cells_lib.Cell], judge: judge_lib.Judge
) -> dict[str, dict[str, object]]:
  """Returns label -> attributes, of every concept that any cell asks for.

  Attributes that all concepts share tell no concept from another, so they are
  left out, unless the judge can tell no others: a joker minus green hair is to
  lose what a joker has. A text that says nothing of the embedded heads is left
  out as well.
  """
  asked: dict[str, dict[str, object]] = {}
  for cell in cells:
    for concept in _concepts(cell.config):
      label = concept.name or concept.text
      if label not in asked:
        try:
          asked[label] = known_heads.asked_attributes(judge.world, concept.text)
        except errors.UserError:  # Words of another world.
          asked[label] = {}
  if len(asked) > 1:
    common = set.intersection(
      *(set(map(str, one.items())) for one in asked.values())
    )
    for label, one in asked.items():
      own = {k: v for k, v in one.items() if str((k, v)) not in common}
      asked[label] = own if agreement.can_judge(judge, own) else one
  return {label: one for label, one in asked.items() if one}


def _concepts(config: schema.RunConfig) -> Sequence[schema.ConceptConfig]:
  return config.concepts or [schema.ConceptConfig(text=config.prompt)]


def wanted_labels(cell: cells_lib.Cell) -> list[str]:
  """Returns the labels of the concepts that a cell is to follow."""
  return [
    concept.name or concept.text
    for concept in _concepts(cell.config)
    if concept.weight > 0
  ]


def look_at(
  workdir: str | os.PathLike,
  cell: cells_lib.Cell,
  judge: judge_lib.Judge,
  concepts: Mapping[str, Mapping[str, object]],
  *,
  with_shape: bool = False,
) -> dict[str, Any]:
  """Returns what is seen of a cell; reads it if it was looked at before.

  Args:
    workdir: of the sweep.
    cell: one that has a checkpoint, or that asks nothing.
    judge: who looks.
    concepts: see `concepts_of`.
    with_shape: look at normals too, which takes twice as long.

  Returns:
    `picture` (the name of a file), `sees` (concept -> probability),
    `saturation` and `detail`; `with_shape` `shape_agreement`, how much of what
    changes the shape is seen where normals are lit as clay, and
    `normal_noise_deg`; and what these follow from: `step`, `judge` (a sha256)
    and `asked` (see `concepts`).

  Raises:
    FileNotFoundError, UserError: the run cannot be opened.
  """
  path = folder.cell_folder(workdir, cell).parent / f'{cell.name}.json'
  step = step_of(workdir, cell)
  known = _read(path, _KEYS | _OF_SHAPE if with_shape else _KEYS)
  asked = {label: dict(one) for label, one in concepts.items()}
  # What the numbers below follow from.
  made_of = {'step': step, 'judge': _name(judge), 'asked': _plain(asked)}
  if known and all(known[key] == value for key, value in made_of.items()):
    return known
  representation, params = _open(workdir, cell)
  picture = path.with_suffix('.png')
  _write_picture(picture, representation, params)
  shape_of = wanted_labels(cell) if with_shape else None
  seen = _see(judge, representation, params, asked, shape_of)
  row = {**made_of, 'picture': picture.name, **seen}
  text = strict_json.dumps(row, indent=1)
  atomic.write_text(path, text + '\n')
  return json.loads(text)  # As the next time.


def _see(
  judge: judge_lib.Judge,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  asked: Mapping[str, Mapping[str, object]],
  shape_of: Sequence[str] | None,
) -> dict[str, Any]:
  """Returns what `look_at` measures.

  Args:
    judge: who looks.
    representation: of the head.
    params: of the head.
    asked: label -> attributes.
    shape_of: labels of the concepts whose shape is looked for; None: only
      colours are looked at.
  """
  views = agreement.judging_views()
  grey = np.full(3, agreement.BACKGROUND, np.float32)
  # Normals cost half of a render, so they are rendered only for who looks.
  shown, around = (
    images.render_images(
      representation,
      params,
      cameras,
      judge_lib.IMAGE_SIZE,
      grey,
      with_normals=shape_of is not None,
    )
    for cameras in (views, orbits.turntable(16))
  )
  seen: dict[str, Any] = {
    'sees': {
      label: agreement.mean_probability(judge, shown['rgb'], views.words, one)
      for label, one in asked.items()
    },
    'saturation': metrics.saturation(around['rgb'], around['acc']),
    'detail': metrics.detail(around['rgb'], around['acc']),
  }
  if shape_of is not None:
    as_clay = clay.light(shown['normals'])
    shapes = [_shape_attributes(judge, asked.get(one, {})) for one in shape_of]
    shares = [
      agreement.mean_probability(judge, as_clay, views.words, one)
      for one in shapes
    ]
    seen['shape_agreement'] = mean_known(shares)
    seen['normal_noise_deg'] = metrics.normal_noise_deg(
      around['normals'], around['acc']
    )
  return seen


def _shape_attributes(
  judge: judge_lib.Judge, asked: Mapping[str, object]
) -> dict[str, object]:
  """Returns what of a concept changes the shape: a hat, horns and the like."""
  geometry = judge.world.questions.geometry
  return {k: v for k, v in asked.items() if k in geometry and v}


def mean_known(shares: Sequence[float | None]) -> float | None:
  """Returns the mean of the shares that are known; None if none is."""
  return tables.mean([share for share in shares if share is not None])


@functools.lru_cache(maxsize=1)
def _name(judge: judge_lib.Judge) -> str:
  """Returns a sha256 over a judge's weights, which tells it from others."""
  digest = hashlib.sha256()
  for name, weight in judge.net.state_dict().items():
    digest.update(name.encode() + weight.numpy().tobytes())
  return digest.hexdigest()


def _plain(asked: Mapping[str, Mapping[str, object]]) -> Any:
  """Returns what JSON would give back."""
  return json.loads(strict_json.dumps(asked, default=str))


def _read(path: pathlib.Path, keys: set[str]) -> dict[str, Any] | None:
  """Returns what was seen of a cell; None if it cannot be used as it is."""
  picture = path.with_suffix('.png')
  try:
    row = json.loads(path.read_text(encoding='utf-8'))
    is_whole = _is_whole(row, keys, picture.name)
    return row if is_whole and _opens(picture) else None
  # Bad JSON is a ValueError; a thousand brackets are a RecursionError.
  except (OSError, ValueError, RecursionError):
    return None


def _is_whole(row: Any, keys: set[str], picture: str) -> bool:
  """Returns whether everything that `look_at` writes is there."""
  if not isinstance(row, dict) or not keys <= row.keys():
    return False
  if not isinstance(row['sees'], dict) or row['picture'] != picture:
    return False
  numbers = [row[key] for key in keys - _KEYS]
  numbers += [row['saturation'], row['detail'], *row['sees'].values()]
  return all(n is None or tables.is_number(n) for n in numbers)


def _opens(path: pathlib.Path) -> bool:
  """Returns whether a picture is whole: one that is not would end the sheet."""
  try:
    with Image.open(path) as picture:
      if picture.size == (PICTURE, PICTURE):
        picture.load()
        return True
  # What Pillow raises of damage besides the system's errors.
  except (SyntaxError, Image.DecompressionBombError):
    pass
  return False


def step_of(workdir: str | os.PathLike, cell: cells_lib.Cell) -> int:
  """Returns the step of a cell's newest checkpoint; 0 if there is none."""
  if cell.asks_nothing:
    return 0
  return opening.newest_step(folder.cell_folder(workdir, cell))


def _open(
  workdir: str | os.PathLike, cell: cells_lib.Cell
) -> tuple[representation_lib.Representation, representation_lib.Params]:
  if cell.asks_nothing:
    representation = opening.representation_of(cell.config)
    return representation, start.load_params(cell.config)
  avatar = opening.open_run(folder.cell_folder(workdir, cell))
  return avatar.representation, avatar.params


def _write_picture(
  path: pathlib.Path,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
) -> None:
  front = orbits.make_views(
    [0.0],
    0.08,
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )
  grey = np.array(turntable.BACKGROUND, np.float32)
  shown = images.render_images(
    representation, params, front, PICTURE, grey, with_normals=False
  )
  picture = turntable.to_uint8(shown['rgb'][0])
  with atomic.replacing(path) as temporary:
    Image.fromarray(picture).save(temporary)
