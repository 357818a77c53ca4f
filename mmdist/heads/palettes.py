"""Names of what a head may have, and the colours that they stand for.

They are the same in every world, and so are their numbers: [3] colours in
[0, 1], as a well-lit surface shows them.
"""

NAMES = ('', 'joker', 'devil', 'clown', 'alien', 'wizard', 'elf')
HATS = ('', 'hat', 'top hat', 'beanie', 'wizard hat', 'cap', 'crown')
GLASSES = ('', 'glasses', 'sunglasses')
NATURAL_SKINS = {
  'pale': (0.95, 0.80, 0.72),
  'tan': (0.80, 0.57, 0.42),
  'brown': (0.55, 0.36, 0.25),
  'dark': (0.34, 0.22, 0.16),
}
FANTASY_SKINS = {
  'green': (0.30, 0.66, 0.24),
  'blue': (0.25, 0.42, 0.85),
  'red': (0.80, 0.16, 0.13),
  'purple': (0.55, 0.28, 0.70),
  'white': (0.95, 0.95, 0.95),
  'golden': (0.88, 0.68, 0.18),
}
NATURAL_HAIR = {
  'black': (0.07, 0.06, 0.06),
  'brown': (0.30, 0.18, 0.10),
  'blond': (0.85, 0.68, 0.35),
  'ginger': (0.72, 0.32, 0.10),
}
OLD_HAIR = {'grey': (0.55, 0.55, 0.56), 'white': (0.92, 0.92, 0.92)}
FANTASY_HAIR = {
  'green': (0.15, 0.60, 0.18),
  'blue': (0.15, 0.25, 0.80),
  'pink': (0.95, 0.45, 0.65),
  'purple': (0.50, 0.20, 0.65),
}
OBJECT_COLORS = {
  'red': (0.80, 0.08, 0.08),
  'blue': (0.10, 0.20, 0.75),
  'green': (0.10, 0.55, 0.18),
  'yellow': (0.93, 0.80, 0.12),
  'black': (0.08, 0.08, 0.09),
  'white': (0.93, 0.93, 0.93),
  'purple': (0.50, 0.16, 0.62),
  'orange': (0.92, 0.48, 0.08),
}
EYE_COLORS = {
  'brown': (0.30, 0.16, 0.07),
  'blue': (0.15, 0.38, 0.75),
  'green': (0.18, 0.50, 0.22),
}
SKINS = {**NATURAL_SKINS, **FANTASY_SKINS}
HAIR_COLORS = {**NATURAL_HAIR, **OLD_HAIR, **FANTASY_HAIR}
