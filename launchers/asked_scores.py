"""What launchers.evaluate measures only when it is asked to.

By a CLIP model or by PickScore, from directories the user has, and against a
procedural head that a run should have become.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from launchers import finished_run
from mmdist.data import heads
from mmdist.evaluation import agreement
from mmdist.evaluation import clip as clip_lib
from mmdist.evaluation import pickscore
from mmdist.evaluation import truth as truth_lib
from mmdist.nerf import images as nerf_images

COLUMNS = (
  'clip_score',
  'r_precision',
  'pickscore',
  'preference_rate',
  'preferred_share',
  'psnr',
  'ssim',
  'normal_error_deg',
)
_HEAD = re.compile(r'(\d+):(\d+)(:neutral)?')


@dataclasses.dataclass(frozen=True)
class Asked:
  """What to measure besides; nothing by default.

  Attributes:
    clip: gives clip_score and r_precision.
    pickscore: gives pickscore.
    prompts: what r_precision has to tell a run's own prompt from.
    truth: the subject's pictures from the judging views, as
      `evaluation.truth` takes them; give psnr, ssim and normal_error_deg.
  """

  clip: clip_lib.Clip | None = None
  pickscore: clip_lib.Clip | None = None
  prompts: tuple[str, ...] = ()
  truth: Mapping[str, np.ndarray] | None = None


NOTHING = Asked()


def open_asked(options, prompts: Sequence[str], resolution: int) -> Asked:
  """Opens what the flags name.

  Args:
    options: has evaluate's flags.
    prompts: what the runs were made from.
    resolution: H = W of the pictures that are compared with the truth.

  Raises:
    FileNotFoundError, ValueError: in one line, what is wrong.
  """
  if options.prompts and not options.clip:
    raise ValueError('--prompts are for r_precision; expected --clip=DIR too.')
  head = read_head(options.truth) if options.truth else None
  if options.prompts:
    prompts = read_prompts(options.prompts)
  return Asked(
    clip_lib.load(options.clip) if options.clip else None,
    clip_lib.load(options.pickscore) if options.pickscore else None,
    tuple(dict.fromkeys(prompts)),
    render_truth(head, resolution) if head else None,
  )


def read_prompts(path: str) -> tuple[str, ...]:
  """Reads the texts of a file, one a line.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it has no text.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(
      f'--prompts={path} is no file; expected one with a text on each line.'
    )
  lines = pathlib.Path(path).read_text(encoding='utf-8').splitlines()
  texts = tuple(line.strip() for line in lines if line.strip())
  if not texts:
    raise ValueError(f'--prompts={path} is empty; expected a text a line.')
  return texts


def read_head(text: str) -> heads.Head:
  """Returns the procedural head that FAMILY:INDEX[:neutral] names.

  The first form is what `launchers.heads --photos` and `launchers.personalize`
  know a head by, so an edit can be held to its subject; the second is what the
  NeRF is pretrained on (N7).

  Raises:
    ValueError: it is something else.
  """
  numbers = _HEAD.fullmatch(text)
  if not numbers:
    raise ValueError(
      f"--truth is '{text}'; expected FAMILY:INDEX of a procedural head, as in "
      '--truth=5:2, or FAMILY:INDEX:neutral.'
    )
  family, index, neutral = numbers.groups()
  return heads.sample_head(int(family), int(index), bool(neutral))


def render_truth(head: heads.Head, resolution: int) -> dict[str, np.ndarray]:
  """Renders a procedural head from the judging views, over their background."""
  views = agreement.judging_views()
  pictures = heads.render_heads([head] * len(views), views, resolution)
  return {
    'rgb': pictures.over(np.full(3, agreement.BACKGROUND)),
    'normals': pictures.normals,
    'acc': pictures.rgba[..., 3],
  }


def measure(
  asked: Asked,
  avatar: finished_run.Avatar,
  params: Any,
  prompt: str,
  shown: Mapping[str, np.ndarray],
) -> dict[str, object]:
  """Returns what was asked about one run, by name.

  Args:
    asked: what to measure.
    avatar: the run.
    params: of the head that is measured.
    prompt: what it should show.
    shown: its pictures from the judging views, over the judging background.
  """
  row: dict[str, object] = {}
  sizes = {m.image_size for m in (asked.clip, asked.pickscore) if m}
  portraits = {size: _portraits(avatar, params, size) for size in sizes}
  if asked.clip:
    texts = tuple(dict.fromkeys((prompt, *asked.prompts)))
    cosines = asked.clip.cosines(portraits[asked.clip.image_size], texts)
    row['clip_score'] = float(pickscore.clip_scores(cosines[:, 0]).mean())
    row['r_precision'] = pickscore.r_precision(cosines)
  if asked.pickscore:
    pictures = portraits[asked.pickscore.image_size]
    cosines = asked.pickscore.cosines(pictures, [prompt])[:, 0]
    scores = pickscore.pick_scores(cosines, asked.pickscore.scale)
    row['pickscore'] = float(scores.mean())
    row['pickscore_per_view'] = scores.tolist()
  if asked.truth:
    row |= truth_lib.compare(shown, asked.truth)
  return row


def _portraits(avatar, params, size: int) -> np.ndarray:
  """Renders the face at the size that a network reads, [V, size, size, 3]."""
  return nerf_images.render_images(
    avatar.representation,
    params,
    agreement.portrait_views(),
    size,
    np.full(3, agreement.BACKGROUND, np.float32),
    with_normals=False,
  )['rgb']


def add_preferences(rows: Sequence[dict[str, Any]]) -> None:
  """Says in each row how it does against the first run of the same prompt.

  PickScore compares pictures of one text, so a run whose prompt no run before
  it has is compared with none.

  Args:
    rows: of several runs, with 'pickscore_per_view'. Gain 'preferred_over', a
      run or None, and 'preference_rate' and 'preferred_share' over it.
  """
  firsts: dict[str, dict[str, Any]] = {}
  for row in rows:
    first = firsts.setdefault(row['prompt'], row)
    row |= dict.fromkeys(
      ('preferred_over', 'preference_rate', 'preferred_share')
    )
    if first is not row:
      scores, others = (np.array(r['pickscore_per_view']) for r in (row, first))
      row['preferred_over'] = first['run']
      row['preference_rate'] = pickscore.preference_rate(scores, others)
      row['preferred_share'] = pickscore.preferred_share(scores, others)
