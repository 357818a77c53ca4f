"""How heads of clay are described; see `mmdist.heads.sentences`."""

from mmdist.heads import sentences
from mmdist.heads import wording
from mmdist.heads.clay import clay_attributes

CAPTIONS = sentences.Captions(
  wording.Wording(
    traits=clay_attributes.TRAITS,
    hair_adjectives=('short', 'long'),
    hair_nouns=('afro', 'mohawk', 'bun'),
    expressions={'open mouth': 'an open mouth'},
  )
)
