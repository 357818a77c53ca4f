"""Several concepts with signed weights (MagicMirror, section 3.3).

  mmdist optimize --config=mix:happy_sad \\
    --workdir=runs/happy_sad
  mmdist optimize --config=mix:joker_minus_green \\
    --workdir=runs/joker

Presets:
  happy_sad           two expressions of one man, a part of each
  joker_minus_green   a joker, pushed away from green hair: expect his make-up
                      and suit with hair of another colour

Other weights, here or for concepts of your own:

  --config.concepts="[('a portrait of a joker', 1.5), ('...', -0.5)]"
"""

from mmdist.config import schema
from mmdist.core import names

# Weights on a channel must add up to more than 0, or the objective has no fixed
# point (docs/method.md, section 2, 'Balance').
PRESETS = {
  'happy_sad': (
    ('happy', 'a portrait of a happy man', 0.6),
    ('sad', 'a portrait of a sad man', 0.4),
  ),
  'joker_minus_green': (
    ('joker', 'a portrait of a joker', 1.5),
    # -0.5 was too weak for the hair in a prototype of this package.
    ('green', 'a portrait of a man with green hair', -1.2),
  ),
}


def get_config(preset: str = 'happy_sad') -> schema.RunConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  run = schema.RunConfig()
  run.concepts = [
    schema.ConceptConfig(text, weight, name=name)
    for name, text, weight in PRESETS[preset]
  ]
  # Where there are concepts, nothing is asked of the prompt.
  run.prompt = run.concepts[0].text
  return run
