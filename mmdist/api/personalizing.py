"""`mmdist.personalize`: pictures of one subject become a prior of one's own."""

from collections.abc import Sequence
import os
import re

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import saying

# As in MagicMirror's edits (A.4): more guidance than for a generic prior, and a
# proxy that is guided as well.
GUIDANCE_SCALE = 10.0
PROXY_GUIDANCE_SCALE = 2.0


def personalize(
  photos: str | os.PathLike | None = None,
  *,
  prompt: str,
  out: str | os.PathLike,
  subject: str | os.PathLike | None = None,
  kind: str | None = None,
  prior: str | os.PathLike = 'color',
  class_prompt: Sequence[str] = (),
  num_steps: int = 0,
  seed: int = 0,
) -> schema.PriorConfig:
  """Fine-tunes a prior on pictures of one subject; an interrupted call resumes.

  Every option, with its default, is in `mmdist.training.personalization`.

  Args:
    photos: folder of five or more pictures.
    prompt: with an identifier token, e.g. 'a [v] portrait of a woman'.
    out: directory that the new prior gets; it appears whole at the end.
    subject: instead of photos, the folder of a run whose avatar is rendered.
    kind: 'photos', 'avatar' (colour renders) or 'normal' (world normals); None
      takes what fits.
    prior: to start from: a directory or an embedded name.
    class_prompt: texts whose meaning the prior keeps, e.g. ['a portrait of a
      woman']. Without any, a small prior forgets what other texts mean.
    num_steps: of the training; 0 for what suits the kind of prior.
    seed: decides noise and the order of the pictures.

  Returns:
    The new prior, to be passed to `mmdist.optimize(priors=...)`. Its template
    adds the identifier token to every text that it is asked for.

  Raises:
    UserError, OSError: in one line; pictures or texts that cannot be used.
  """
  if (photos is None) == (subject is None):
    raise errors.UserError('expected either photos or a subject, and not both.')
  # Here, because it imports what the trainings need.
  from mmdist.training import personalization

  if isinstance(class_prompt, str):
    class_prompt = (class_prompt,)
  options = personalization.Options(
    kind=kind or ('photos' if subject is None else 'avatar'),
    out=os.fspath(out),
    prior=os.fspath(prior),
    images=os.fspath(photos or ''),
    subject=os.fspath(subject or ''),
    prompt=prompt,
    num_steps=num_steps,
    class_prompt=tuple(class_prompt),
    seed=seed,
  )
  personalization.train(options, saying.say)
  return prior_of(out, prompt, kind)


def prior_of(
  directory: str | os.PathLike, prompt: str, kind: str | None = None
) -> schema.PriorConfig:
  """Returns a personalised directory as a prior that says its identifier.

  Args:
    directory: of the prior.
    prompt: that it was trained with.
    kind: 'normal' for one that looks at normals.
  """
  if kind == 'normal':
    opening = re.sub(r'\bof\b.*', 'of {target}', prompt, flags=re.DOTALL)
    return schema.PriorConfig(
      str(local_paths.local(directory)),
      channel='normal',
      prompt_template=opening if '{target}' in opening else prompt,
    )
  token = re.search(r'\[\w+\]', prompt)
  template = f'a {token[0]} portrait of {{target}}' if token else '{prompt}'
  return schema.PriorConfig(
    str(local_paths.local(directory)),
    prompt_template=template,
    guidance_scale=GUIDANCE_SCALE,
    proxy_guidance_scale=PROXY_GUIDANCE_SCALE,
  )
