"""The pictures that a prior draws at the end of its training, as one sheet."""

import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mmdist.heads import worlds
  from mmdist.priors import pipeline as pipelines

PROMPTS = {
  'clay': (
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
  ),
  'people': (
    'a portrait of a happy man, front view',
    'a portrait of a man with green skin and a red hat, front view',
    'a portrait of a woman with blue skin and a yellow crown, front view',
    'a portrait of a joker, front view',
    'a portrait of a sad old man with a long beard, front view',
    'a portrait of a devil, side view',
    'a portrait of a woman with curly blond hair and sunglasses, front view',
    'a portrait of a surprised man with horns and purple skin, front view',
    'a portrait of an angry woman, mouth view',
    'a portrait of a man with puffed cheeks and stubble, front view',
    'a portrait of an old woman with closed eyes, eyes view',
    'a portrait of a man with an open mouth and a goatee, mouth view',
    'a portrait of a woman with a pink afro, back view',
    'a portrait of a girl with a blue cap and freckles, front view',
    'a portrait of a young man with green headphones, side view',
    'a portrait of a wizard, front view',
  ),
}


def prompts(world: 'worlds.World', channel: str) -> tuple[str, ...]:
  """Returns what is drawn of a world, in the words of a channel."""
  from mmdist.heads import sentences

  texts = PROMPTS[world.name]
  if channel != 'normal':
    return texts
  swap = (sentences.COLOR_PREFIX, sentences.NORMAL_PREFIX)
  return tuple(text.replace(*swap) for text in texts)


def write(
  pipeline: 'pipelines.Pipeline',
  world: 'worlds.World',
  channel: str,
  path: pathlib.Path,
) -> None:
  """Samples a world's prompts in a channel's words, as one picture."""
  from mmdist.data import sheets
  from mmdist.priors import sample

  pictures = sample.sample(
    pipeline, prompts(world, channel), guidance_scale=4.0, seed=0
  )
  sheets.save_grid(path, pictures, columns=8, zoom=2)
