"""The pictures that a prior draws at the end of its training, as one sheet."""

import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mmdist.priors import pipeline as pipelines

PROMPTS = (
  'a portrait of a happy man, front view',
  'a portrait of a man with green skin and a red hat, front view',
  'a portrait of a woman with blue skin and a yellow crown, front view',
  'a portrait of a joker, front view',
  'a portrait of a sad old man with a long beard, front view',
  'a portrait of a devil, side view',
  'a portrait of a woman with long blond hair and sunglasses, front view',
  'a portrait of a surprised man with horns and purple skin, front view',
  'a portrait of a happy woman, mouth view',
  'a portrait of a sad man with tan skin, mouth view',
  'a portrait of a surprised old woman, eyes view',
  'a portrait of a man with an open mouth and a beard, mouth view',
  'a portrait of a woman with a pink afro, back view',
  'a portrait of a child with a blue cap, overhead view',
  'a portrait of a man with green headphones, side view',
  'a portrait of a wizard, front view',
)


def prompts(channel: str) -> tuple[str, ...]:
  """Returns what is drawn, in the words of a channel."""
  from mmdist.heads import captions

  if channel != 'normal':
    return PROMPTS
  swap = (captions.COLOR_PREFIX, captions.NORMAL_PREFIX)
  return tuple(text.replace(*swap) for text in PROMPTS)


def write(
  pipeline: 'pipelines.Pipeline', channel: str, path: pathlib.Path
) -> None:
  """Samples the prompts of a channel and saves them as one picture."""
  from mmdist.data import sheets
  from mmdist.priors import sample

  pictures = sample.sample(
    pipeline, prompts(channel), guidance_scale=4.0, seed=0
  )
  sheets.save_grid(path, pictures, columns=8, zoom=2)
