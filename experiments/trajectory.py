"""From one sentence to the next: a way through several heads, as a film.

MagicMirror, Fig. 7b: the result of one concept is optimised on with the
objective of another.

  mmdist trajectory --config=trajectory:expressions --workdir=runs/expressions

Presets:
  expressions   a neutral man, who becomes happy and then sad
  ages          a child, who becomes an old man

Other legs, here or of your own:

  --config.legs[1].prompt='a portrait of a surprised man'
"""

from mmdist.config import schema
from mmdist.config import trajectory_schema
from mmdist.core import names

# Name and sentence of each leg.
PRESETS = {
  'expressions': (
    ('neutral', 'a portrait of a man'),
    ('happy', 'a portrait of a happy man'),
    ('sad', 'a portrait of a sad man'),
  ),
  'ages': (
    ('child', 'a portrait of a child'),
    ('old', 'a portrait of an old man'),
  ),
}


def get_config(
  preset: str = 'expressions',
) -> trajectory_schema.TrajectoryConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  return trajectory_schema.TrajectoryConfig(
    schema.RunConfig(),
    [
      trajectory_schema.LegConfig(prompt, name=name)
      for name, prompt in PRESETS[preset]
    ],
  )
