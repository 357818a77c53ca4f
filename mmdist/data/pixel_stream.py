"""Batches of pixels drawn over all subjects and cameras, resumably (grain).

A batch is a function of (seed, number of the batch), so that grain's whole
state is that number. Grain would go on from it in another set or with another
seed just as well: a hash of the pipeline beside the state forbids that.
"""

from collections.abc import Mapping
import hashlib
from typing import Any

import grain
import numpy as np

from mmdist.cameras import photographs
from mmdist.core import errors
from mmdist.core import seeds
from mmdist.data import multiview

# Batches drawn ahead of the step that needs them.
_PREFETCHED = 4


class PixelStream:
  """An endless iterator of pixels with a state that can be saved.

  Subjects are numbered as in the set. Rays are drawn uniformly over subjects,
  their cameras and the pixels (MagicMirror, section 3.1), and each gets a grey
  background.
  """

  def __init__(
    self,
    multiview_set: multiview.MultiviewSet,
    batch_size: int,
    seed: int,
    background: tuple[float, float] = (0.35, 1.0),
    trained: np.ndarray | None = None,
    draws_only: bool = False,
    num_threads: int = 1,
  ):
    """Builds the pipeline.

    Neither of the last two changes which pixels come when, nor the state: a
    training may go on with others.

    Args:
      multiview_set: where pixels come from.
      batch_size: N.
      seed: decides every draw.
      background: range of the grey behind the subjects.
      trained: [M, K] which pictures to draw from; all if None.
      draws_only: gives `PixelDraws` instead of `PixelBatch`es, for who has the
        pictures.
      num_threads: that draw batches ahead.
    """
    self._set = multiview_set
    self._batch_size = batch_size
    self._seed = seed
    self._background = background
    self._pictures = _trained_pictures(multiview_set, trained)
    self._draws_only = draws_only
    self._hash = self._hash_pipeline()
    # An epoch so long that no training reaches its end.
    dataset = grain.MapDataset.range(2**62).map(self.draw)
    self._iterator = iter(
      dataset.to_iter_dataset(
        grain.ReadOptions(
          num_threads=num_threads,
          prefetch_buffer_size=_PREFETCHED * num_threads,
        )
      )
    )

  def __iter__(self) -> 'PixelStream':
    return self

  def __next__(self) -> photographs.PixelBatch | photographs.PixelDraws:
    return next(self._iterator)

  def draw(
    self, number: int
  ) -> photographs.PixelBatch | photographs.PixelDraws:
    """Draws batch `number`, always the same."""
    rng = seeds.generator(self._seed, int(number), 'pixels')
    size = self._batch_size
    picture = self._pictures[rng.integers(len(self._pictures), size=size)]
    subject, camera = picture.T
    row = rng.integers(self._set.height, size=size)
    column = rng.integers(self._set.resolution, size=size)
    grey = rng.uniform(*self._background, (size, 1))
    if self._draws_only:
      return _to_draws(self._set, subject, camera, row, column, grey[:, 0])
    return read_pixels(self._set, subject, camera, row, column, grey)

  def get_state(self) -> dict[str, Any]:
    """Returns where the stream is, as JSON can hold it."""
    return {'pipeline': self._hash, 'iterator': self._iterator.get_state()}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes on where another stream of the same pipeline was.

    Raises:
      UserError: the state is of another pipeline.
    """
    if state['pipeline'] != self._hash:
      raise errors.UserError(
        'the checkpoint was trained on other pixels (pictures, seed, batch '
        'size or held-out cameras changed); restore them, or start anew in '
        'another folder.'
      )
    self._iterator.set_state(dict(state['iterator']))

  def _hash_pipeline(self) -> str:
    digest = hashlib.sha256()
    settings = (self._batch_size, self._seed, tuple(self._background))
    digest.update(repr(settings).encode())
    lenses = self._set.lenses
    arrays = (
      self._pictures,
      self._set.images,
      self._set.camera_to_world,
      self._set.tan_half_fov,
      *((lenses.focal, lenses.center, lenses.distortion) if lenses else ()),
    )
    for array in arrays:
      digest.update(repr((array.shape, str(array.dtype))).encode())
      digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_pixels(
  multiview_set: multiview.MultiviewSet,
  subject: np.ndarray,
  camera: np.ndarray,
  row: np.ndarray,
  column: np.ndarray,
  grey: np.ndarray,
) -> photographs.PixelBatch:
  """Returns pixels [...] of a set.

  Args:
    multiview_set: where pixels come from.
    subject: [...] its number, as the others.
    camera: of the subject.
    row: from the top.
    column: from the left.
    grey: [..., 1] what to put behind the subject, in [0, 1].
  """
  rgba8 = multiview_set.images[subject, camera, row, column]
  return photographs.PixelBatch(
    subject=subject.astype(np.int32),
    camera_to_world=multiview_set.camera_to_world[subject, camera],
    tan_half_fov=multiview_set.tan_half_fov[subject, camera],
    coordinates=multiview_set.coordinates(subject, camera, row, column),
    rgba=multiview.rgba8_to_premultiplied(rgba8),
    background=np.repeat(grey, 3, -1).astype(np.float32),
    resolution=multiview_set.resolution,
  )


def _to_draws(
  multiview_set: multiview.MultiviewSet,
  subject: np.ndarray,
  camera: np.ndarray,
  row: np.ndarray,
  column: np.ndarray,
  grey: np.ndarray,
) -> photographs.PixelDraws:
  coordinates = None
  if multiview_set.lenses is not None:
    coordinates = multiview_set.coordinates(subject, camera, row, column)
  return photographs.PixelDraws(
    subject.astype(np.int32),
    camera.astype(np.int32),
    row.astype(np.int32),
    column.astype(np.int32),
    grey.astype(np.float32),
    coordinates,
  )


def photographs_of(
  multiview_set: multiview.MultiviewSet,
) -> photographs.Photographs:
  """Returns the pictures of a set as a compiled function reads them.

  From draws it reads what `read_pixels` does, bit for bit.
  """
  axes = None
  if multiview_set.lenses is None:  # Else every draw has its coordinates.
    steps, first = np.arange(multiview_set.resolution), np.zeros((), int)
    axes = multiview_set.coordinates(first, first, steps, steps)
  return photographs.Photographs(
    multiview_set.images,
    multiview_set.camera_to_world,
    multiview_set.tan_half_fov,
    levels=np.arange(256, dtype=np.float32) / 255,
    axes=axes,
  )


def read_picture(
  multiview_set: multiview.MultiviewSet, subject: int, camera: int, grey: float
) -> photographs.PixelBatch:
  """Returns all pixels [H, W] of one picture over a grey in [0, 1]."""
  row, column = np.indices((multiview_set.height, multiview_set.resolution))
  return read_pixels(
    multiview_set,
    np.full_like(row, subject),
    np.full_like(row, camera),
    row,
    column,
    np.full((*row.shape, 1), grey),
  )


def _trained_pictures(
  multiview_set: multiview.MultiviewSet, trained: np.ndarray | None
) -> np.ndarray:
  """Returns [P, 2] (subject, camera) of every picture to draw from."""
  lead = multiview_set.images.shape[:2]
  pictures = np.argwhere(np.ones(lead, bool) if trained is None else trained)
  if not len(pictures):
    raise errors.UserError(
      'every picture is held out; give each subject at least two cameras.'
    )
  return pictures
