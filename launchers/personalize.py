"""Makes a prior of your own: pictures in, a new diffusers directory out.

  python -m launchers.personalize --kind=photos --images=PHOTOS \\
    --prompt='a [v] portrait of a man' --class_prompt='a portrait of a man' \\
    --out=runs/me
  python -m launchers.personalize --kind=avatar --subject=runs/green \\
    --prompt='a [v] portrait of a man' --out=runs/green_again
  python -m launchers.personalize --kind=normal --subject=0:3 --out=runs/normal

DreamBooth (docs/method.md, section 5): the prior of `--prior` is fine-tuned on
a few pictures of one subject under an identifier token. `photos` are a folder
of five or more; `avatar` are 60 colour renders and `normal` 60 world-normal
renders of a run's avatar, or of procedural head FAMILY:INDEX.

The paper has no class-prior loss. A small prior without one soon draws its
subject whatever the text is, the empty one too; guidance is the difference
between the two, so nothing is left in it that knows the subject, and an edit
loses them. `--class_prompt` says which texts go on to mean what they meant.

`--out` appears whole at the end, and holds the prior, samples from before and
after (`report.html`) and a model card. Until then the work lies in
`--out`.training; the same command goes on from there.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import shutil
import time

from absl import flags

from launchers import terminal
from mmdist.data import concept_images
from mmdist.training import personal_pictures

KINDS = ('photos', 'avatar', 'normal')
NORMAL_PROMPT = 'a [w] face map of a person'  # MagicMirror, A.2.


@dataclasses.dataclass(frozen=True)
class Options:
  """The flags; see `define_flags`."""

  kind: str
  out: str
  prior: str = 'color'
  images: str = ''
  boxes: str = ''
  subject: str = ''
  prompt: str = ''
  num_steps: int = 0
  learning_rate: float = 0.0
  batch_size: int = 4
  lora_rank: int = 0
  train_text_encoder: bool = False
  class_prompt: Sequence[str] = ()
  class_weight: float = 1.0
  num_class_images: int = 64
  dtype: str = 'bfloat16'
  device: str = 'auto'
  seed: int = 0
  save_every_s: float = 120.0
  max_minutes: float = 0.0


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_enum(
    'kind', None, KINDS, 'What the pictures are.', required=True
  )
  flags.DEFINE_string('out', None, 'The new prior.', required=True)
  flags.DEFINE_string(
    'prior', 'color', 'To start from: directory, embedded name or hub commit.'
  )
  flags.DEFINE_string('images', '', 'photos: a folder of pictures.')
  flags.DEFINE_string('boxes', '', 'photos: JSON of file -> [l, t, r, b].')
  flags.DEFINE_string(
    'subject', '', 'avatar, normal: a run, or procedural head FAMILY:INDEX.'
  )
  flags.DEFINE_string('prompt', '', 'With the identifier token.')
  flags.DEFINE_integer('num_steps', 0, '0: 400 or, for normal, 800.', 0)
  flags.DEFINE_float(
    'learning_rate', 0.0, '0: 3e-6, of an embedded prior 2e-4.', 0.0
  )
  flags.DEFINE_integer('batch_size', 4, 'Pictures of the subject a step.', 1)
  flags.DEFINE_integer('lora_rank', 0, 'Move a LoRA only; 0: all weights.', 0)
  flags.DEFINE_bool('train_text_encoder', False, 'Move the text encoder too.')
  flags.DEFINE_multi_string(
    'class_prompt',
    [],
    'Prior preservation, which the paper has not: texts that shall go on to '
    "mean what they mean, such as 'a portrait of a man'. May be repeated.",
  )
  flags.DEFINE_float('class_weight', 1.0, 'Of the class-prior loss.', 0.0)
  flags.DEFINE_integer('num_class_images', 64, 'Sampled from the prior.', 1)
  flags.DEFINE_enum(
    'dtype', 'bfloat16', ['float32', 'bfloat16', 'float16'], 'To compute in.'
  )
  flags.DEFINE_string('device', 'auto', 'cpu, cuda or auto.')
  flags.DEFINE_integer('seed', 0, 'Noise, order of pictures, LoRA weights.')
  flags.DEFINE_float('save_every_s', 120.0, 'Between checkpoints.', 0.0)
  flags.DEFINE_float('max_minutes', 0.0, 'Stop (resumable) after; 0: never.')


def main(argv: Sequence[str]) -> None:
  """Personalises a prior."""
  del argv
  names = [field.name for field in dataclasses.fields(Options)]
  options = Options(**{name: getattr(flags.FLAGS, name) for name in names})
  out = pathlib.Path(options.out)
  if (out / 'README.md').is_file() and (out / 'unet').is_dir():
    print(f'{out} is finished; give another --out for another prior.')
    return
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'{out} is not empty; give --out a new folder.')
  personalize(options)


def personalize(options: Options) -> None:
  """Checks everything, then trains from the last checkpoint."""
  from mmdist.priors import checks
  from mmdist.priors import families
  from mmdist.priors import locate

  directory = locate.locate(options.prior)
  family = families.read_family(pathlib.Path(directory))
  prompt = options.prompt or default_prompt(options.kind)
  checks.check_prior(directory, [prompt, *options.class_prompt])
  check_identifier(prompt, family.settings.get('identifier_tokens', {}))
  # Before any weight is loaded: what is wrong with a picture is told at once.
  concept = concept_images.ConceptSet(
    *personal_pictures.read(options, family.image_size, prompt)
  )
  train(options, directory, family, prompt, concept)


def default_prompt(kind: str) -> str:
  """Returns the paper's prompt of normals; others have none."""
  if kind == 'normal':
    return NORMAL_PROMPT
  raise ValueError(
    "expected --prompt with the identifier token, such as 'a [v] portrait of "
    "a man'."
  )


def check_identifier(prompt: str, tokens: dict[str, str]) -> None:
  """Raises ValueError unless a prompt has one of a prior's own identifiers.

  A prior that declares none (Stable Diffusion) takes any rare word.
  """
  known = sorted(set(tokens.values()))
  if known and not any(token in prompt.split() for token in known):
    raise ValueError(
      f"prompt '{prompt}' has no identifier token; expected one of "
      f'{", ".join(known)} in it, which no caption of this prior uses.'
    )


def train(options, directory, family, prompt, concept) -> None:
  """Fine-tunes, with checkpoints, and puts the result in its place."""
  from mmdist.training import personal_training

  out = pathlib.Path(options.out)
  work = out.with_name(f'{out.name}.training')
  work.mkdir(parents=True, exist_ok=True)
  start = time.monotonic()
  training = personal_training.PersonalTraining(
    options, directory, family, prompt, concept, work
  )
  if not training.run(start):
    print(f'stopped at step {training.step}; the same command goes on.')
    return
  finished = training.write_result()
  if out.exists():
    out.rmdir()  # Empty, or it would have been refused.
  finished.rename(out)
  shutil.rmtree(work)
  print(f'prior:  {out}')
  print(f'report: {out / "report.html"}')


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
