"""What a hit looks like.

Owns light on materials. Everything is computed for hits only, in linear light;
`bodies` averages and turns it into sRGB.
"""

import dataclasses

import numpy as np

from mmdist.heads.people import eyes
from mmdist.heads.people import lights as people_lights
from mmdist.heads.people import pieces
from mmdist.heads.people import skin as people_skin

# (specular strength, gloss, wrap of the light around edges) by material.
_FINISHES = {
  pieces.SKIN: (0.22, 16.0, (0.34, 0.17, 0.11)),
  pieces.EYE: (2.6, 220.0, (0.15, 0.13, 0.12)),
  pieces.HARD: (0.55, 40.0, (0.1, 0.1, 0.1)),
  pieces.CLOTH: (0.04, 10.0, (0.25, 0.25, 0.25)),
  pieces.HAIR: (0.0, 1.0, (0.35, 0.35, 0.35)),
  pieces.TEETH: (0.5, 50.0, (0.35, 0.30, 0.25)),
}
_WET_SPECULAR, _WET_GLOSS = 0.35, 30.0
_STREAK = 0.13


@dataclasses.dataclass(frozen=True)
class Hits:
  """Where M rays hit a body.

  Attributes:
    normals: [M, 3] unit, towards the viewer on thin things.
    views: [M, 3] unit, towards the camera.
    shades: [M, 2] open sky and open key light.
    extras: [M, `pieces.NUM_EXTRAS`].
    materials: [M].
    colors: [M, 3] linear albedo of the pieces.
  """

  normals: np.ndarray
  views: np.ndarray
  shades: np.ndarray
  extras: np.ndarray
  materials: np.ndarray
  colors: np.ndarray


def shade(
  hits: Hits,
  skin: people_skin.Skin,
  iris: np.ndarray,
  lights: people_lights.Lights,
) -> np.ndarray:
  """Returns [M, 3] linear light that hits send to the camera."""
  color = hits.colors.copy()
  specular, gloss, wrap = (
    np.array([_FINISHES[m][k] for m in range(len(_FINISHES))], np.float32)[
      hits.materials
    ]
    for k in range(3)
  )
  on_skin = np.flatnonzero(hits.materials == pieces.SKIN)
  extras = hits.extras[on_skin]
  color[on_skin], cloth, wet = people_skin.albedo(
    skin, extras[:, :3], extras[:, 3], extras[:, 4]
  )
  specular[on_skin] += wet * _WET_SPECULAR - cloth * specular[on_skin]
  gloss[on_skin] += wet * _WET_GLOSS
  on_eye = np.flatnonzero(hits.materials == pieces.EYE)
  color[on_eye] = eyes.albedo(iris, hits.extras[on_eye, :3])
  on_hair = np.flatnonzero(hits.materials == pieces.HAIR)
  color[on_hair] *= _locks(hits.extras[on_hair])[:, None]
  light = _diffuse(hits, wrap, lights) * color
  shiny = np.flatnonzero(specular > 0)
  light[shiny] += _specular(hits, shiny, specular, gloss, lights)
  light[on_hair] += _hair_shine(hits, on_hair, color[on_hair], lights)
  return light


def _diffuse(
  hits: Hits, wrap: np.ndarray, lights: people_lights.Lights
) -> np.ndarray:
  """Returns [M, 3] light that falls on hits."""
  # Teeth and eyes are wet and light themselves up from within.
  wet = np.isin(hits.materials, (pieces.TEETH, pieces.EYE))[:, None]
  shades = np.where(wet, 0.25 + 0.75 * np.sqrt(hits.shades), hits.shades)
  sky, key = shades[:, :1], shades[:, 1:]
  height = 0.75 + 0.25 * hits.normals[:, 1:2]
  light = lights.sky * (height * (0.12 + 0.88 * sky))
  facing = hits.normals @ lights.directions.T
  for k, lamp in enumerate(lights.colors):
    through = 0.12 + 0.88 * key if k == 0 else 0.3 + 0.7 * sky
    fall = np.maximum(facing[:, k : k + 1] + wrap, 0) / (1 + wrap)
    light += lamp * fall * through
  return light


def _specular(
  hits: Hits,
  rows: np.ndarray,
  specular: np.ndarray,
  gloss: np.ndarray,
  lights: people_lights.Lights,
) -> np.ndarray:
  """Returns [K, 3] of Blinn and Phong's lobe with Schlick's Fresnel term."""
  normals, views = hits.normals[rows], hits.views[rows]
  gloss, key = gloss[rows], hits.shades[rows, 1]
  sky = hits.shades[rows, 0]
  # Eyes stay alive under lids and hats.
  glint = np.where(hits.materials[rows] == pieces.EYE, 0.5, 0)
  strength = specular[rows] * (gloss + 8) / 8
  light = np.zeros((len(rows), 3), np.float32)
  # The rim light stands behind: its highlights would be seen from there.
  for k, lamp in enumerate(lights.colors[:2]):
    towards = lights.directions[k]
    facing = np.maximum(normals @ towards, 0)
    half = pieces.unit(views + towards)
    aligned = np.maximum(np.einsum('mc,mc->m', normals, half), 0)
    seen = np.einsum('mc,mc->m', views, half)
    fresnel = 0.04 + 0.96 * np.maximum(1 - seen, 0) ** 5
    lobe = strength * fresnel * aligned**gloss * np.minimum(4 * facing, 1)
    lobe = lobe * np.maximum((key if k == 0 else sky) * sky, glint)
    light += lobe[:, None] * lamp
  return light


def _locks(extras: np.ndarray) -> np.ndarray:
  """How light each strand is: by its lock, its root and its thread."""
  along, lock, across = extras[:, 3], extras[:, 4], extras[:, 5]
  thread = 0.07 * np.sin(9 * across + 40 * lock)
  return (0.72 + 0.56 * lock + thread) * (0.75 + 0.25 * np.clip(along, 0, 1))


def _hair_shine(
  hits: Hits,
  rows: np.ndarray,
  color: np.ndarray,
  lights: people_lights.Lights,
) -> np.ndarray:
  """Returns [K, 3] of Kajiya and Kay's highlight along strands."""
  tangents = pieces.unit(hits.extras[rows, :3])
  views, open_sky = hits.views[rows], hits.shades[rows, 0]
  light = np.zeros((len(rows), 3), np.float32)
  for towards, lamp in zip(lights.directions, lights.colors):
    half = pieces.unit(views + towards)
    aligned = np.einsum('mc,mc->m', tangents, half)
    facing = np.maximum(hits.normals[rows] @ towards + 0.15, 0) * open_sky
    white = _STREAK * (1 - aligned**2).clip(0) ** 26 * facing
    tinted = 0.45 * (1 - (aligned + 0.15) ** 2).clip(0) ** 10 * facing
    light += (0.12 * white[:, None] + tinted[:, None] * color) * lamp
  return light
