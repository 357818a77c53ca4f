"""A head and its pictures, as values."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from mmdist.heads import traits as head_traits


@dataclasses.dataclass(frozen=True)
class Head:
  """One procedural head.

  Attributes:
    attributes: what it is, in words.
    parameters: the numbers that its world draws it by.
  """

  attributes: head_traits.Attributes
  parameters: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class HeadPictures:
  """Renders of N heads.

  Attributes:
    rgba: [N, H, W, 4] float32 in [0, 1]; rgb premultiplied by alpha.
    normals: [N, H, W, 3] float32 world normals coloured (n + 1) / 2, mid-grey
      on the background.
  """

  rgba: np.ndarray
  normals: np.ndarray

  def over(self, background: np.ndarray) -> np.ndarray:
    """Returns [N, H, W, 3] colours over [N, 3] or [3] backgrounds."""
    background = np.asarray(background, np.float32)
    background = background.reshape((-1, 1, 1, background.shape[-1]))
    return self.rgba[..., :3] + (1 - self.rgba[..., 3:]) * background
