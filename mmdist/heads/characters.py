"""Named characters: what makes a joker a joker, in every world."""

from collections.abc import Mapping

import numpy as np

from mmdist.heads import chances

BARE = {'beard': '', 'hat': '', 'glasses': '', 'headphones': False}
PLAIN = BARE | {'horns': False, 'pointed_ears': False, 'red_nose': False}


def signs(
  name: str, rng: np.random.Generator, old_man: Mapping[str, object]
) -> dict[str, object]:
  """Returns what makes a named character, by attribute; '' makes nothing.

  Args:
    name: one of `palettes.NAMES`.
    rng: decides the colour of a wizard's hat, and is asked for every name.
    old_man: the attributes by which a world calls somebody an old man.
  """
  hat_color = chances.choose(rng, ('purple', 'blue'))
  return {
    '': {},
    'joker': PLAIN
    | {
      'expression': 'happy',
      'skin': 'white',
      'hair_color': 'green',
      'hair_style': 'short',
      'shirt_color': 'purple',
      'kind': 'man',
    },
    'devil': BARE | {'skin': 'red', 'horns': True, 'pointed_ears': True},
    'clown': PLAIN | {'skin': 'white', 'hair_style': 'afro', 'red_nose': True},
    'alien': PLAIN | {'skin': 'green', 'hair_style': 'bald', 'kind': 'man'},
    'wizard': PLAIN
    | {
      'hat': 'wizard hat',
      'hat_color': hat_color,
      'beard': 'long beard',
      'hair_color': 'white',
      'hair_style': 'long',
      'skin': 'pale',
    }
    | dict(old_man),
    'elf': PLAIN
    | {
      'pointed_ears': True,
      'hair_style': 'long',
      'hair_color': 'blond',
      'skin': 'pale',
    },
  }[name]
