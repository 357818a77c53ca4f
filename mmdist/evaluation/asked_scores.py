"""What `mmdist evaluate` measures only when it is asked to.

By a CLIP model or by PickScore, from directories the user has, against a
procedural head that a run should have become, or against the one it edits.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.evaluation import agreement
from mmdist.evaluation import clip as clip_lib
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import known_heads
from mmdist.evaluation import pickscore
from mmdist.evaluation import truth as truth_lib
from mmdist.heads import head_records
from mmdist.heads import worlds
from mmdist.nerf import images as nerf_images
from mmdist.run import opening

if TYPE_CHECKING:
  from mmdist.evaluation import run_evaluation  # It imports this module.

COLUMNS = (
  'clip_score',
  'r_precision',
  'pickscore',
  'preference_rate',
  'preferred_share',
  'psnr',
  'ssim',
  'normal_error_deg',
  'identity_agreement',
  'true_identity_agreement',
  'identity_chance',
  'identity_rank',
)


@dataclasses.dataclass(frozen=True)
class Asked:
  """What to measure besides; nothing by default.

  Attributes:
    clip: gives clip_score and r_precision.
    pickscore: gives pickscore.
    prompts: what r_precision has to tell a run's own prompt from.
    truth: the subject's pictures from the judging views, as
      `evaluation.truth` takes them; give psnr, ssim and normal_error_deg.
    subject: whom the runs edit; gives identity_agreement and identity_rank.
  """

  clip: clip_lib.Clip | None = None
  pickscore: clip_lib.Clip | None = None
  prompts: tuple[str, ...] = ()
  truth: Mapping[str, np.ndarray] | None = None
  subject: head_records.Head | None = None


NOTHING = Asked()


def open_asked(
  options: 'run_evaluation.Options',
  world: worlds.World,
  prompts: Sequence[str],
  resolution: int,
) -> Asked:
  """Opens what the options name.

  Args:
    options: `run_evaluation.Options`.
    world: of the heads that they name.
    prompts: what the runs were made from.
    resolution: H = W of the pictures that are compared with the truth.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong.
  """
  if options.prompts and not options.clip:
    raise errors.UserError(
      '--prompts are for r_precision; expected --clip=DIR too.'
    )
  truth, subject = (
    known_heads.read_head(world, getattr(options, flag), flag)
    if getattr(options, flag)
    else None
    for flag in ('truth', 'subject')
  )
  if options.prompts:
    prompts = read_prompts(options.prompts)
  return Asked(
    clip_lib.load(options.clip) if options.clip else None,
    clip_lib.load(options.pickscore) if options.pickscore else None,
    tuple(dict.fromkeys(prompts)),
    known_heads.render(world, truth, agreement.judging_views(), resolution)
    if truth
    else None,
    subject,
  )


def read_prompts(path: str) -> tuple[str, ...]:
  """Reads the texts of a file, one a line.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: it has no text.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(
      f'--prompts={path} is no file; expected one with a text on each line.'
    )
  lines = pathlib.Path(path).read_text(encoding='utf-8').splitlines()
  texts = tuple(line.strip() for line in lines if line.strip())
  if not texts:
    raise errors.UserError(
      f'--prompts={path} is empty; expected a text a line.'
    )
  return texts


def measure(
  asked: Asked,
  judge: judge_lib.Judge,
  avatar: opening.Avatar,
  params: representation_lib.Params,
  prompt: str,
  attributes: Mapping[str, object],
  shown: Mapping[str, np.ndarray],
) -> dict[str, object]:
  """Returns what was asked about one run, by name.

  Args:
    asked: what to measure.
    judge: who looks for the subject.
    avatar: the run.
    params: of the head that is measured.
    prompt: what it should show.
    attributes: what its prompt or concepts ask of the head.
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
  if asked.subject:
    row |= known_heads.identity(
      judge,
      agreement.judging_views(),
      shown['rgb'],
      asked.subject,
      attributes,
    )
  return row


def _portraits(
  avatar: opening.Avatar, params: representation_lib.Params, size: int
) -> np.ndarray:
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
  """Adds to each row how it does against the first run of the same prompt.

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
