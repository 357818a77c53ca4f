"""What can be told from a picture of a procedural head, and from where.

The judge's questions as plain tables; the network that answers them lives in
`mmdist.evaluation`.
"""

from mmdist.cameras import orbits
from mmdist.heads import attributes as head_attributes

_FACE = ('front', 'side')
_HEAD = ('front', 'side', 'back', 'overhead', 'low-angle')
_MOUTH = ('mouth', 'nose', 'chin')

# Attribute -> view words from which it shows.
VISIBLE_FROM = {
  'expression': ('front', 'mouth'),
  'skin': _FACE + _MOUTH + ('eyes', 'low-angle'),
  'hair_style': ('front', 'side', 'back', 'hair'),
  'hair_color': ('front', 'side', 'back', 'hair'),
  'hat': ('front', 'side', 'back', 'overhead', 'hair'),
  'hat_color': ('front', 'side', 'back', 'overhead', 'hair'),
  'glasses': _FACE + ('eyes',),
  'beard': _FACE + ('mouth', 'chin'),
  'horns': ('front', 'side', 'back'),
  'headphones': ('front', 'side', 'back'),
  'headphone_color': ('front', 'side', 'back'),
  'pointed_ears': ('front', 'side'),
  'red_nose': ('front', 'nose'),
  'view': orbits.VIEW_WORDS,
}
# Attributes that change the shape of a head, so that normals show them too.
GEOMETRY = ('hat', 'horns', 'glasses', 'beard', 'headphones', 'pointed_ears')


def questions() -> list[dict]:
  """Returns name, values and views of every question, in order."""
  choices = {**head_attributes.CHOICES, 'view': orbits.VIEW_WORDS}
  return [
    {
      'name': name,
      'values': tuple(str(value) for value in choices[name]),
      'views': tuple(views),
    }
    for name, views in VISIBLE_FROM.items()
  ]
