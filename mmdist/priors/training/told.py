"""How much a prior makes of words: what it tells siblings apart by.

Pictures of a family differ in one word. The prior guesses what is behind the
same noise with the picture's own text and with a sibling's: the difference of
the guesses is what the word alone brings about, and the difference of the
pictures is what it should. This number is smooth where the accuracy of a
judge on samples swings, and it costs a few passes.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mmdist.core import seeds
from mmdist.core import shapes
from mmdist.priors import pipeline as pipelines
from mmdist.priors.training import guesses

LEVELS = (500, 700, 900)  # Timesteps of 1,000: below, a picture tells itself.
_NUM_TIMESTEPS = 1000


def told(
  pipeline: pipelines.Pipeline,
  images: np.ndarray,
  texts: Sequence[Sequence[str]],
  levels: Sequence[int] = LEVELS,
) -> list[float]:
  """Returns the share of siblings' differences that their texts bring about.

  Args:
    pipeline: on any device.
    images: [F, S, H, W, 3] float32 in [0, 1]: F families of S siblings.
    texts: F rows of S captions.
    levels: noise levels as timesteps of 1,000.

  Returns:
    Per level the component of the guesses' differences along those of the
    pictures: 1 if words decide all that siblings differ in, 0 if they decide
    nothing of it.
  """
  num_families, num_siblings = images.shape[:2]
  shapes.check_shape('images', images, (len(texts), num_siblings, 'H', 'W', 3))
  flat = torch.from_numpy(np.concatenate(images))
  latents = pipelines.encode_images(pipeline, flat)
  rng = seeds.generator(0, 0, 'what words tell')
  drawn = rng.standard_normal(
    (num_families, *latents.shape[1:]), dtype=np.float32
  )
  noise = torch.from_numpy(drawn).to(latents).repeat_interleave(num_siblings, 0)
  own = [text for row in texts for text in row]
  others = [text for row in texts for text in (*row[1:], row[0])]
  of_others = latents.unflatten(0, (num_families, num_siblings))
  of_others = of_others.roll(-1, 1).flatten(0, 1)
  apart = latents - of_others
  shares = []
  for level in levels:
    t = level / _NUM_TIMESTEPS
    said, unsaid = (
      guesses.guess(pipeline, latents, noise, captions, t)
      for captions in (own, others)
    )
    share = ((said - unsaid) * apart).sum() / apart.square().sum()
    shares.append(float(share))
  return shares
