"""How much of the sky and of the key light reaches each vertex.

Owns the rays for it. They are shot once per body, at its vertices, and every
picture interpolates what they found.
"""

import numpy as np

from mmdist.heads.people import lights as people_lights
from mmdist.heads.people import pieces
from mmdist.heads.people import rays

_NUM_SKY, _NUM_LAMP = 8, 3
# What is farther away than this lets the sky through.
_REACH = 0.7
_OFF = 0.008
_LAMP_SIZE = 0.16
# Roots of strands are in the dark, tips in the open.
_ROOT = 0.45
_DEEP, _DARK = 0.95, 0.3


def shades(
  mesh: pieces.Mesh, scene: rays.Scene, lights: people_lights.Lights
) -> np.ndarray:
  """Returns [N, 2] float32: open sky and open key light, in [0, 1]."""
  shade = np.ones((len(mesh.vertices), 2), np.float32)
  along = np.sqrt(np.clip(mesh.extras[mesh.is_strand, 3], 0, 1))
  shade[mesh.is_strand] = (_ROOT + (1 - _ROOT) * along)[:, None]
  # Deep in the mouth it is dark, whatever the rays would say.
  deep = (mesh.extras[:, 4] > _DEEP) & ~mesh.is_strand
  shade[deep] = _DARK
  solid = np.flatnonzero(~mesh.is_strand & ~deep)
  normals = mesh.normals[solid]
  origins = mesh.vertices[solid] + _OFF * normals
  sky = np.zeros(len(solid), np.float32)
  total = np.zeros(len(solid), np.float32)
  for direction in _half_sphere(_NUM_SKY):
    facing = normals @ direction
    weight = np.abs(facing)
    towards = np.sign(facing)[:, None] * direction
    sky += weight * ~scene.is_occluded(origins, towards, _REACH)
    total += weight
  shade[solid, 0] = sky / np.maximum(total, 1e-6)
  lit = np.zeros(len(solid), np.float32)
  facing = normals @ lights.directions[0] > -0.25
  for direction in _cone(lights.directions[0], _NUM_LAMP):
    towards = np.broadcast_to(direction, (int(facing.sum()), 3))
    lit[facing] += ~scene.is_occluded(origins[facing], towards, np.inf)
  shade[solid, 1] = lit / _NUM_LAMP
  return shade


def _half_sphere(count: int) -> np.ndarray:
  """Returns even directions with z > 0 (a spiral), [count, 3] float32."""
  k = np.arange(count)
  z = (k + 0.5) / count
  angle = k * np.pi * (3 - np.sqrt(5))
  flat = np.sqrt(1 - z**2)
  return np.stack([flat * np.cos(angle), flat * np.sin(angle), z], -1).astype(
    np.float32
  )


def _cone(axis: np.ndarray, count: int) -> np.ndarray:
  """Returns [count, 3] float32 directions around an axis."""
  aside = pieces.unit(np.cross(axis, (0.0, 1.0, 0.1)))
  up = np.cross(aside, axis)
  angle = 2 * np.pi * (np.arange(count)[:, None] + 0.25) / count
  ring = axis + _LAMP_SIZE * (np.cos(angle) * aside + np.sin(angle) * up)
  return pieces.unit(ring).astype(np.float32)
