"""Batches of a few pictures of one concept, endlessly and resumably (grain).

What DreamBooth learns from: every picture comes once before any comes twice,
in an order that the seed decides, over a grey of its own where it is not
opaque. With pictures of the class (prior preservation) a batch holds as many
of them, behind.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
from typing import Any

import grain
import numpy as np

from mmdist.core import errors
from mmdist.core import seeds
from mmdist.core import shapes


@dataclasses.dataclass(frozen=True)
class ConceptSet:
  """Pictures with what each is called.

  Attributes:
    rgba: [N, H, H, 4] uint8, colour not multiplied by opacity.
    prompts: N texts.
  """

  rgba: np.ndarray
  prompts: tuple[str, ...]

  def __post_init__(self) -> None:
    shapes.check_shape('rgba', self.rgba, (len(self.prompts), 'H', 'H', 4))
    if not self.prompts:
      raise errors.UserError('no pictures; expected one or more.')


class ConceptStream:
  """An endless iterator of images [B, H, H, 3] in [0, 1] with B prompts."""

  def __init__(
    self,
    concept: ConceptSet,
    batch_size: int,
    seed: int,
    background: tuple[float, float] = (0.35, 1.0),
    of_class: ConceptSet | None = None,
  ):
    """Builds the pipeline.

    Args:
      concept: the pictures.
      batch_size: of the concept's; twice as many come with a class.
      seed: decides order and greys.
      background: range of the grey behind what is not opaque.
      of_class: pictures of the class, for prior preservation.
    """
    self._sets = [concept] + ([of_class] if of_class else [])
    self._batch_size, self._seed = batch_size, seed
    self._background = background
    dataset = grain.MapDataset.range(2**62).map(self.draw)
    self._iterator = iter(
      dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
      )
    )
    self._hash = self._hash_pipeline()

  def __iter__(self) -> 'ConceptStream':
    return self

  def __next__(self) -> tuple[np.ndarray, list[str]]:
    return next(self._iterator)

  def draw(self, number: int) -> tuple[np.ndarray, list[str]]:
    """Draws batch `number`, always the same."""
    images: list[np.ndarray] = []
    prompts: list[str] = []
    for of_class, pictures in enumerate(self._sets):
      for place in range(self._batch_size):
        turn, index = divmod(
          int(number) * self._batch_size + place, len(pictures.prompts)
        )
        order = seeds.generator(self._seed, turn, f'concept order {of_class}')
        chosen = order.permutation(len(pictures.prompts))[index]
        images.append(self._image(pictures.rgba[chosen], number, len(images)))
        prompts.append(pictures.prompts[chosen])
    return np.stack(images), prompts

  def _image(self, rgba: np.ndarray, number: int, place: int) -> np.ndarray:
    rng = seeds.generator(self._seed, int(number), f'concept grey {place}')
    grey = np.float32(rng.uniform(*self._background))
    rgba = rgba.astype(np.float32) / 255
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1 - alpha) * grey

  def get_state(self) -> dict[str, Any]:
    """Returns where the stream is, as JSON can hold it."""
    return {'pipeline': self._hash, 'iterator': self._iterator.get_state()}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes on where another stream of the same pipeline was.

    Raises:
      UserError: the state is of other pictures, prompts or settings.
    """
    if state['pipeline'] != self._hash:
      raise errors.UserError(
        'the checkpoint was made from other pictures, prompts, seed or batch '
        'size; restore them, or give another --out.'
      )
    self._iterator.set_state(dict(state['iterator']))

  def _hash_pipeline(self) -> str:
    digest = hashlib.sha256()
    settings = (self._batch_size, self._seed, tuple(self._background))
    digest.update(repr(settings).encode())
    for pictures in self._sets:
      digest.update(repr((pictures.rgba.shape, pictures.prompts)).encode())
      digest.update(np.ascontiguousarray(pictures.rgba).data)
    return digest.hexdigest()
