"""How people are described; see `mmdist.heads.sentences`."""

from mmdist.heads import sentences
from mmdist.heads import wording
from mmdist.heads.people import attributes

CAPTIONS = sentences.Captions(
  wording.Wording(
    traits=attributes.TRAITS,
    hair_adjectives=('short', 'long', 'curly'),
    hair_nouns=('bob', 'ponytail', 'afro', 'mohawk', 'bun'),
    expressions={
      'open mouth': 'an open mouth',
      'closed eyes': 'closed eyes',
      'puffed cheeks': 'puffed cheeks',
      'pucker': 'a pucker',
      'wink': 'a wink',
    },
    uncounted=('stubble',),
    words=('freckles',),
  )
)
