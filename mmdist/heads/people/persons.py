"""People from words, and their pictures, without JAX.

A person is its words and a seed: the body is built where pictures are taken,
once for all views of it.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from mmdist.cameras import orbits
from mmdist.heads import head_records
from mmdist.heads import traits as head_traits
from mmdist.heads.people import attributes as people_attributes

SEED = 'seed'  # The name of a person's only number.
_SEEDS = 2**63


def make_head(
  attributes: head_traits.Attributes, rng: np.random.Generator
) -> head_records.Head:
  """Gives attributes a body; see `subjects.make_head`."""
  seed = np.asarray(rng.integers(_SEEDS))
  return head_records.Head(attributes, {SEED: seed})


def render_heads(
  heads: Sequence[head_records.Head],
  views: orbits.Views,
  resolution: int,
  supersampling: int,
  num_threads: int,
) -> head_records.HeadPictures:
  """Renders head i from view i; see `subjects.render_heads`.

  A head that occurs several times is built once. Bodies are drawn one after
  the other, on however many threads the renderer has.
  """
  # Here, so that whoever only draws words does without.
  from mmdist.heads.people import bodies

  del num_threads
  poses, tan_half_fov = views.poses()
  shape = (len(heads), resolution, resolution)
  rgba = np.zeros((*shape, 4), np.float32)
  normals = np.zeros((*shape, 3), np.float32)
  for rows in _rows_of_each(heads):
    head = heads[rows[0]]
    rng = np.random.default_rng(int(head.parameters[SEED]))
    person = cast(people_attributes.Attributes, head.attributes)
    body = bodies.make(person, rng)
    rgba[rows], normals[rows], _ = bodies.render(
      body, poses[rows], tan_half_fov[rows], resolution, supersampling
    )
  return head_records.HeadPictures(rgba, normals)


def _rows_of_each(heads: Sequence[head_records.Head]) -> list[list[int]]:
  """Returns the rows of each head that is another one."""
  rows: dict[tuple[object, int], list[int]] = {}
  for i, head in enumerate(heads):
    key = (head.attributes, int(head.parameters[SEED]))
    rows.setdefault(key, []).append(i)
  return list(rows.values())
