"""Measures how well a prior alone follows sentences.

It is sampled with captions of combinations that it was never trained on; the
judge looks at the samples, and at renders of the heads that they describe.
"""

from collections.abc import Mapping
import dataclasses
import itertools

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.core import seeds
from mmdist.data import sheets
from mmdist.evaluation import agreement
from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.heads import head_records
from mmdist.heads import sentences
from mmdist.heads import subjects
from mmdist.heads import traits as head_traits
from mmdist.heads import worlds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import sample

VIEW_WORDS = ('front', 'side')  # From where the held-out pairs can be seen.
HEAD_FAMILY = 78  # Of no training.
_COLUMNS = 16  # Of the sheet.


@dataclasses.dataclass(frozen=True)
class Questions:
  """Heads with a held-out combination, and captions that name it.

  Attributes:
    world: of the heads.
    people: N heads.
    views: N views.
    texts: N captions.
  """

  world: worlds.World
  people: tuple[head_records.Head, ...]
  views: orbits.Views
  texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Options:
  """How a prior is sampled, and who looks."""

  num: int = options_lib.option(64, 'Captions to sample.', minimum=1)
  seed: int = options_lib.option(0, 'Of heads, captions and noise.')
  guidance_scale: float = options_lib.option(4.0, 'Classifier-free guidance.')
  sampler_steps: int = options_lib.option(25, 'Passes of the UNet.', minimum=1)
  channel: str = options_lib.option(
    'rgb', 'What it draws.', choices=('rgb', 'normal')
  )
  judge: str = options_lib.option(
    'judge', 'A judge, or its folder.', is_path=True
  )
  sheet: str = options_lib.option(
    '', 'PNG to write: samples above true renders.', is_path=True
  )
  json: bool = options_lib.option(False, 'Print an object for programs.')


def evaluate_prior(
  prior: str, options: Options = Options()
) -> dict[str, object]:
  """Returns the numbers of one prior, and writes `options.sheet` if asked to.

  Args:
    prior: its directory or its embedded name.
    options: see `Options`; `json` is not read.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  options = options_lib.checked(options)
  judge = judge_lib.load(asset_paths.resolve(options.judge))
  pipeline = pipelines.open_pipeline(
    asset_paths.resolve(prior), 'float32', 'cpu'
  )
  world = check_worlds(prior, pipeline, options.judge, judge)
  questions = make_questions(world, options.num, options.seed, options.channel)
  row, pictures = evaluate(
    pipeline,
    judge,
    questions,
    options.guidance_scale,
    options.sampler_steps,
    options.seed,
    options.channel,
  )
  if options.sheet:
    sheets.save_grid(
      options.sheet, _interleaved(pictures, _COLUMNS), columns=_COLUMNS
    )
  return row


def check_worlds(
  prior: str,
  pipeline: pipelines.Pipeline,
  name: str,
  judge: judge_lib.Judge,
) -> worlds.World:
  """Returns the world of a prior and of its judge.

  Args:
    prior: what a person called the prior.
    pipeline: the prior.
    name: what a person called the judge.
    judge: who looks.

  Raises:
    UserError: they are of two worlds.
  """
  world = worlds.of_settings(pipeline.settings)
  if world and world != judge.world:
    raise errors.UserError(
      f"prior {prior} is of the world '{world.name}', and judge {name} of "
      f"'{judge.world.name}'; give --judge of the prior's world."
    )
  return world or judge.world


def make_questions(
  world: worlds.World, num: int, seed: int, channel: str = 'rgb'
) -> Questions:
  """Draws heads, views and captions, as a prior of that channel reads them."""
  combinations = world.attributes.held_out
  people, texts = [], []
  rng = seeds.generator(seed, 0, 'views of held-out captions')
  candidates = orbits.sample(40 * num, rng)
  seen = [i for i, w in enumerate(candidates.words) if w in VIEW_WORDS][:num]
  views = candidates.take(np.array(seen))
  for i, word in enumerate(views.words):
    combination = combinations[i % len(combinations)]
    head = _head_that_shows(world, combination, seed, i)
    people.append(head)
    texts.append(_caption(world, head.attributes, word, combination, seed, i))
  if channel == 'normal':
    texts = [
      text.replace(sentences.COLOR_PREFIX, sentences.NORMAL_PREFIX, 1)
      for text in texts
    ]
  return Questions(world, tuple(people), views, tuple(texts))


def _head_that_shows(
  world: worlds.World, combination: Mapping[str, object], seed: int, number: int
) -> head_records.Head:
  """Draws heads until one shows it: bald ones have no pink hair."""
  heads = (
    subjects.sample_head(world, HEAD_FAMILY + seed, index, fixed=combination)
    for index in itertools.count(1000 * number)
  )
  return next(
    head
    for head in heads
    if combination.items() <= world.attributes.visible(head.attributes).items()
  )


def _caption(
  world: worlds.World,
  attributes: head_traits.Attributes,
  word: str,
  combination: Mapping[str, object],
  seed: int,
  number: int,
) -> str:
  """Returns a caption as in training that names the combination."""
  rng = seeds.generator(seed, number, 'held-out caption')
  while True:
    text = world.captions.caption(attributes, word, rng, sentences.COLOR_PREFIX)
    if combination.items() <= world.captions.parse(text).items():
      return text


def evaluate(
  pipeline: pipelines.Pipeline,
  judge: judge_lib.Judge,
  questions: Questions,
  guidance_scale: float,
  sampler_steps: int,
  seed: int,
  channel: str = 'rgb',
) -> tuple[dict[str, object], np.ndarray]:
  """Returns the numbers, and the pictures [2N, H, W, 3]: samples, then renders.

  Raises:
    UserError: the prior draws pictures of another size than the judge reads.
  """
  size = pipeline.image_size
  if size != judge_lib.IMAGE_SIZE:
    raise errors.UserError(
      f'the prior draws {size} x {size} pixels, the judge reads '
      f'{judge_lib.IMAGE_SIZE}; give a prior of heads.'
    )
  samples = sample.sample(
    pipeline, questions.texts, guidance_scale, sampler_steps, seed
  )
  world = questions.world
  truth = subjects.render_heads(world, questions.people, questions.views, size)
  asked = [world.captions.parse(text) for text in questions.texts]
  normal = channel == 'normal'
  renders = (
    truth.normals if normal else truth.over(np.full(3, agreement.BACKGROUND))
  )
  shown = np.concatenate([samples, renders])
  if normal:
    samples, renders = clay.light(samples), clay.light(renders)
    asked = [
      {k: v for k, v in one.items() if k in world.questions.geometry}
      for one in asked
    ]
  of_samples, of_renders = (
    agreement.measure_each(judge, pictures, questions.views.words, asked)
    for pictures in (samples, renders)
  )
  row = {
    'prompt_agreement': of_samples.overall,
    'true_render_agreement': of_renders.overall,
    'share_of_true': of_samples.overall / max(of_renders.overall, 1e-6),
    'chance': of_samples.chance,
    'per_attribute': dict(of_samples.per_attribute),
    'true_per_attribute': dict(of_renders.per_attribute),
  }
  return row, shown


def format_row(row: Mapping) -> str:
  """Returns the numbers as lines."""
  lines = [
    f'{name:22} {row[name]:.3f}'
    for name in (
      'prompt_agreement',
      'true_render_agreement',
      'share_of_true',
      'chance',
    )
  ]
  for name, share in row['per_attribute'].items():
    true = row['true_per_attribute'][name]
    lines.append(f'  {name:20} {share:.3f} of {true:.3f}')
  return '\n'.join(lines)


def _interleaved(pictures: np.ndarray, columns: int) -> np.ndarray:
  """Rows of samples, each above the row of its true renders."""
  count = len(pictures) // 2
  order = []
  for first in range(0, count, columns):
    row = list(range(first, min(first + columns, count)))
    order += row + [count + i for i in row]
  return pictures[np.array(order)]
