"""A prior of one's own: pictures in, a new diffusers directory out.

Checks everything before a weight is loaded, then trains from the last
checkpoint. The result appears whole at its place; until then the work lies
beside it, in a folder called `OUT.training`. Torch is imported inside
functions, so that flags are answered at once.
"""

from collections.abc import Callable
import dataclasses
import pathlib
import shutil
import time
from typing import TYPE_CHECKING

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import messages
from mmdist.core import options as options_lib
from mmdist.data import concept_images
from mmdist.heads import worlds
from mmdist.run import locks
from mmdist.training import personal_pictures

if TYPE_CHECKING:
  from mmdist.priors import families

KINDS = ('photos', 'avatar', 'normal')
NORMAL_PROMPT = 'a [w] face map of a person'  # MagicMirror, A.2.


@dataclasses.dataclass(frozen=True)
class Options:
  """What a personal prior learns from, how, and where it goes."""

  kind: str = options_lib.option(
    options_lib.REQUIRED, 'What the pictures are.', choices=KINDS
  )
  out: str = options_lib.option(
    options_lib.REQUIRED, 'Directory of the new prior.', is_path=True
  )
  prior: str = options_lib.option(
    'color',
    'To start from: directory, one .safetensors file (see --base), embedded '
    'name or hub commit.',
    is_path=True,
  )
  base: str = options_lib.option(
    '',
    'Where --prior is one file: a diffusers directory of its family, with its '
    'tokenizers.',
    is_path=True,
  )
  images: str = options_lib.option(
    '',
    'photos: a folder of pictures. What a.txt says follows the prompt of '
    'a.jpg.',
    is_path=True,
  )
  boxes: str = options_lib.option(
    '', 'photos: JSON of file -> [l, t, r, b].', is_path=True
  )
  subject: str = options_lib.option(
    '',
    'avatar, normal: a run, or procedural head FAMILY:INDEX.',
    is_path=True,
  )
  prompt: str = options_lib.option(
    '', 'Of the pictures, with the identifier token.'
  )
  num_steps: int = options_lib.option(
    0, 'Optimiser steps; 0: 400 or, for normal, 800.', minimum=0
  )
  learning_rate: float = options_lib.option(
    0.0, '0: 3e-6 or, for an embedded prior, 2e-4.', minimum=0.0
  )
  batch_size: int = options_lib.option(
    4, 'Pictures of the subject a step.', minimum=1
  )
  lora_rank: int = options_lib.option(
    0, 'Move a LoRA only; 0: all weights.', minimum=0
  )
  train_text_encoder: bool = options_lib.option(
    False, 'Move the text encoder too.'
  )
  class_prompt: tuple[str, ...] = options_lib.option(
    (),
    'Prior preservation, which the paper has not: texts that shall go on to '
    "mean what they mean, such as 'a portrait of a man'. May be repeated.",
    repeated=True,
  )
  class_weight: float = options_lib.option(
    1.0, 'Weight of the class-prior loss.', minimum=0.0
  )
  num_class_images: int = options_lib.option(
    64, 'Pictures of the class, sampled from the prior.', minimum=1
  )
  dtype: str = options_lib.option(
    messages.AUTO,
    'What is computed in; auto: bfloat16 where the device multiplies it in '
    'hardware, else float32.',
    choices=messages.DTYPES,
  )
  device: str = options_lib.option(messages.AUTO, 'cpu, cuda or auto.')
  seed: int = options_lib.option(
    0, 'Decides noise, order of pictures and LoRA weights.'
  )
  save_every_s: float = options_lib.option(
    120.0, 'Seconds between checkpoints.', minimum=0.0
  )
  max_minutes: float = options_lib.option(
    0.0,
    'Stop after so many minutes; the same command goes on. 0: never.',
    minimum=0.0,
  )


def train(
  options: Options, report: Callable[[str], None] = lambda line: None
) -> pathlib.Path | None:
  """Checks everything, then trains from the last checkpoint.

  Args:
    options: see `Options`.
    report: is told how it goes.

  Returns:
    The new prior's directory, also if it was finished before; None if
    `options.max_minutes` had passed first.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong.
    locks.InUse: another process trains for the same `out`.
    PermissionError: nothing can be written beside it, for whatever reason.
    NotFinite: a loss or a gradient is not finite; the checkpoint is sound.
  """
  options = options_lib.checked(options)
  out = pathlib.Path(options.out)
  if _is_finished(out, report):
    return out

  from mmdist.priors import checks
  from mmdist.priors import families
  from mmdist.priors import locate
  from mmdist.priors import schedule as schedules

  directory = locate.locate(options.prior, options.base)
  family = families.read_family(pathlib.Path(directory))
  # Its report has samples, at the end of it all.
  schedules.check_can_sample(family.schedule)
  prompt = options.prompt or default_prompt(options.kind)
  checks.check_prior(directory, [prompt, *options.class_prompt])
  check_identifier(prompt, family.settings.get('identifier_tokens', {}))
  # Before any weight is loaded: what is wrong with a picture is told at once.
  concept = concept_images.ConceptSet(
    *personal_pictures.read(
      options, _world_of(family), family.image_size, prompt
    )
  )
  # Each of them names the subject, so that it has its token.
  checks.check_prior(directory, sorted(set(concept.prompts)))
  with locks.locked(_work_of(out), '--out'):
    # Again: another process may have trained here until the folder was locked.
    if _is_finished(out, report):
      return out
    return _train(options, directory, family, prompt, concept, report)


def _world_of(family: 'families.Family') -> worlds.World:
  """Returns whose heads FAMILY:INDEX names: those that the prior knows."""
  world = worlds.of_settings(family.settings)
  return world or worlds.get(worlds.DEFAULT)


def _is_finished(out: pathlib.Path, report: Callable[[str], None]) -> bool:
  """Returns whether the result is there; UserError if something else is."""
  # The result is put in its place whole, and has both in every family.
  if (out / 'README.md').is_file() and (out / 'model_index.json').is_file():
    report(f'{out} is finished; give another --out for another prior.')
    return True
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise errors.UserError(f'{out} is not empty; give --out a new folder.')
  return False


def _work_of(out: pathlib.Path) -> pathlib.Path:
  """Returns the folder of the checkpoint and of samples, beside the result."""
  work = out.with_name(f'{out.name}.training')
  local_paths.check(work, 'the work folder beside --out,')
  return work


def default_prompt(kind: str) -> str:
  """Returns the paper's prompt of normals; UserError for other kinds."""
  if kind == 'normal':
    return NORMAL_PROMPT
  raise errors.UserError(
    "expected --prompt with the identifier token, such as 'a [v] portrait of "
    "a man'."
  )


def check_identifier(prompt: str, tokens: dict[str, str]) -> None:
  """Raises UserError unless a prompt has one of a prior's own identifiers.

  A prior that declares none (Stable Diffusion) takes any rare word.
  """
  known = sorted(set(tokens.values()))
  if known and not any(token in prompt.split() for token in known):
    raise errors.UserError(
      f"prompt '{prompt}' has no identifier token; expected one of "
      f'{", ".join(known)} in it, which no caption of this prior uses.'
    )


def _train(
  options: Options,
  directory: str,
  family: 'families.Family',
  prompt: str,
  concept: concept_images.ConceptSet,
  report: Callable[[str], None],
) -> pathlib.Path | None:
  """Fine-tunes, with checkpoints, and puts the result in its place."""
  from mmdist.training import personal_training

  out = pathlib.Path(options.out)
  work = _work_of(out)
  start = time.monotonic()
  training = personal_training.PersonalTraining(
    options, directory, family, prompt, concept, work
  )
  if not training.run(start):
    report(f'stopped at step {training.step}; the same command goes on.')
    return None
  finished = training.write_result()
  if out.exists():
    out.rmdir()  # Empty, or it would have been refused.
  finished.rename(out)
  shutil.rmtree(work)
  return out
