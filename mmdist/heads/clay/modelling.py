"""Heads of clay from words, and their pictures.

JAX is imported only where pictures are taken.
"""

from collections.abc import Sequence
import concurrent.futures

import numpy as np

from mmdist.cameras import orbits
from mmdist.heads import head_records
from mmdist.heads import traits as head_traits
from mmdist.heads.clay import parameters as head_parameters


def make_head(
  attributes: head_traits.Attributes, rng: np.random.Generator
) -> head_records.Head:
  """Gives attributes a body; see `subjects.make_head`."""
  parameters = head_parameters.shape_parameters(attributes, rng)
  return head_records.Head(attributes, parameters)


def render_heads(
  heads: Sequence[head_records.Head],
  views: orbits.Views,
  resolution: int,
  supersampling: int,
  num_threads: int,
) -> head_records.HeadPictures:
  """Renders head i from view i; see `subjects.render_heads`."""
  from mmdist.heads.clay import rendering as head_rendering

  cameras = views.cameras()

  def picture(i: int) -> tuple[np.ndarray, np.ndarray]:
    rgb, normals, mask = head_rendering.render(
      heads[i].parameters,
      cameras.take(i),
      np.zeros(3, np.float32),
      resolution,
      supersampling,
    )
    rgba = np.concatenate([rgb, np.asarray(mask)[..., None]], -1)
    return rgba, np.asarray(normals) * 0.5 + 0.5

  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    pictures = list(pool.map(picture, range(len(heads))))
  rgba, normals = (np.stack(column) for column in zip(*pictures))
  return head_records.HeadPictures(rgba, normals)
