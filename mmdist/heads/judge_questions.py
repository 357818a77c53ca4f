"""What can be told from a picture of a head, and from where.

The judge's questions as plain tables; the network that answers them lives in
`mmdist.evaluation`.
"""

from collections.abc import Mapping
import dataclasses

from mmdist.cameras import orbits
from mmdist.heads import traits as head_traits

FACE = ('front', 'side')
MOUTH = ('mouth', 'nose', 'chin')

# Attribute -> view words from which it shows, in every world.
VISIBLE_FROM: dict[str, tuple[str, ...]] = {
  'expression': ('front', 'mouth'),
  'skin': FACE + MOUTH + ('eyes', 'low-angle'),
  'hair_style': ('front', 'side', 'back', 'hair'),
  'hair_color': ('front', 'side', 'back', 'hair'),
  'hat': ('front', 'side', 'back', 'overhead', 'hair'),
  'hat_color': ('front', 'side', 'back', 'overhead', 'hair'),
  'glasses': FACE + ('eyes',),
  'beard': FACE + ('mouth', 'chin'),
  'horns': ('front', 'side', 'back'),
  'headphones': ('front', 'side', 'back'),
  'headphone_color': ('front', 'side', 'back'),
  'pointed_ears': ('front', 'side'),
  'red_nose': ('front', 'nose'),
}
# Attributes that change the shape of a head, so that normals show them too.
GEOMETRY = ('hat', 'horns', 'glasses', 'beard', 'headphones', 'pointed_ears')


@dataclasses.dataclass(frozen=True)
class JudgeQuestions:
  """The questions of a world.

  Attributes:
    traits: which heads there are.
    visible_from: attribute -> view words from which it shows; the last is
      the view itself.
    geometry: attributes that change the shape of a head.
  """

  traits: head_traits.Traits
  visible_from: Mapping[str, tuple[str, ...]]
  geometry: tuple[str, ...] = GEOMETRY

  def questions(self) -> list[dict]:
    """Returns name, values and views of every question, in order."""
    choices = {**self.traits.choices, 'view': orbits.VIEW_WORDS}
    return [
      {
        'name': name,
        'values': tuple(str(value) for value in choices[name]),
        'views': tuple(views),
      }
      for name, views in self.visible_from.items()
    ]
