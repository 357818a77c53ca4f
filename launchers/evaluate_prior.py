"""Says in numbers how well a prior alone follows sentences.

  python -m launchers.evaluate_prior color --num=64
  python -m launchers.evaluate_prior normal --channel=normal --num=64

Samples the prior with captions that name combinations of attributes that it
was never trained on, and renders the very heads that the captions describe.
The judge says how often the asked attributes are seen in the samples, and how
often in the renders; the second is the most that the first can reach.

Normals are lit like clay first, samples and renders alike, and only what
shapes a head (hats, horns, glasses, beards) is asked about: the judge reads
colours.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import json

from absl import flags
import numpy as np

from launchers import terminal
from mmdist.cameras import orbits
from mmdist.core import asset_paths
from mmdist.core import seeds
from mmdist.evaluation import agreement
from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.heads import attributes as head_attributes
from mmdist.heads import captions
from mmdist.heads import questions as head_questions
from mmdist.heads import subjects
from mmdist.priors import pipeline as pipelines
from mmdist.priors import sample

VIEW_WORDS = ('front', 'side')  # From where the held-out pairs can be seen.
HEAD_FAMILY = 78  # Of no training.


@dataclasses.dataclass(frozen=True)
class Questions:
  """Heads with a held-out combination, and captions that name it.

  Attributes:
    people: N heads.
    views: N views.
    texts: N captions.
  """

  people: tuple[subjects.Head, ...]
  views: orbits.Views
  texts: tuple[str, ...]


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_integer('num', 64, 'Captions to sample.', 1)
  flags.DEFINE_integer('seed', 0, 'Of heads, captions and noise.')
  flags.DEFINE_float('guidance_scale', 4.0, 'Classifier-free guidance.')
  flags.DEFINE_integer('sampler_steps', 25, 'Passes of the UNet.', 1)
  flags.DEFINE_enum('channel', 'rgb', ['rgb', 'normal'], 'What it draws.')
  flags.DEFINE_string('judge', 'judge', 'A judge, or its folder.')
  flags.DEFINE_string('sheet', '', 'PNG to write: samples above true renders.')
  flags.DEFINE_bool('json', False, 'Print an object for programs.')


def make_questions(num: int, seed: int, channel: str = 'rgb') -> Questions:
  """Draws heads, views and captions, as a prior of that channel reads them."""
  combinations = head_attributes.HELD_OUT
  people, texts = [], []
  rng = seeds.generator(seed, 0, 'views of held-out captions')
  candidates = orbits.sample(40 * num, rng)
  seen = [i for i, w in enumerate(candidates.words) if w in VIEW_WORDS][:num]
  views = candidates.take(np.array(seen))
  for i, word in enumerate(views.words):
    combination = combinations[i % len(combinations)]
    head = _head_that_shows(combination, seed, i)
    people.append(head)
    texts.append(_caption(head.attributes, word, combination, seed, i))
  if channel == 'normal':
    texts = [
      text.replace(captions.COLOR_PREFIX, captions.NORMAL_PREFIX, 1)
      for text in texts
    ]
  return Questions(tuple(people), views, tuple(texts))


def _head_that_shows(combination, seed, number):
  """Draws heads until one shows it: bald ones have no pink hair."""
  for attempt in itertools.count():
    index = 1000 * number + attempt
    head = subjects.sample_head(HEAD_FAMILY + seed, index, fixed=combination)
    if combination.items() <= head_attributes.visible(head.attributes).items():
      return head


def _caption(attributes, word, combination, seed, number):
  """Returns a caption as in training that names the combination."""
  rng = seeds.generator(seed, number, 'held-out caption')
  while True:
    text = captions.caption(attributes, word, rng, captions.COLOR_PREFIX)
    if combination.items() <= captions.parse(text).items():
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
    ValueError: the prior draws pictures of another size than the judge reads.
  """
  size = pipeline.image_size
  if size != judge_lib.IMAGE_SIZE:
    raise ValueError(
      f'the prior draws {size} x {size} pixels, the judge reads '
      f'{judge_lib.IMAGE_SIZE}; give a prior of heads.'
    )
  samples = sample.sample(
    pipeline, questions.texts, guidance_scale, sampler_steps, seed
  )
  truth = subjects.render_heads(questions.people, questions.views, size)
  asked = [captions.parse(text) for text in questions.texts]
  normal = channel == 'normal'
  renders = (
    truth.normals if normal else truth.over(np.full(3, agreement.BACKGROUND))
  )
  shown = np.concatenate([samples, renders])
  if normal:
    samples, renders = clay.light(samples), clay.light(renders)
    asked = [
      {k: v for k, v in one.items() if k in head_questions.GEOMETRY}
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


def format_row(row) -> str:
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


def _interleaved(pictures, columns):
  """Rows of samples, each above the row of its true renders."""
  count = len(pictures) // 2
  order = []
  for first in range(0, count, columns):
    row = list(range(first, min(first + columns, count)))
    order += row + [count + i for i in row]
  return pictures[np.array(order)]


def main(argv: Sequence[str]) -> None:
  """Prints the numbers of one prior."""
  values = flags.FLAGS
  if len(argv) != 2:
    raise ValueError(
      'expected one prior: python -m launchers.evaluate_prior color'
    )
  judge = judge_lib.load(asset_paths.resolve(values.judge))
  pipeline = pipelines.open_pipeline(
    asset_paths.resolve(argv[1]), 'float32', 'cpu'
  )
  questions = make_questions(values.num, values.seed, values.channel)
  row, pictures = evaluate(
    pipeline,
    judge,
    questions,
    values.guidance_scale,
    values.sampler_steps,
    values.seed,
    values.channel,
  )
  if values.sheet:
    from mmdist.results import sheets

    columns = 16
    sheets.save_grid(
      values.sheet, _interleaved(pictures, columns), columns=columns
    )
  print(json.dumps(row, indent=2) if values.json else format_row(row))


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
