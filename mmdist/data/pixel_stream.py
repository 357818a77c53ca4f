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
from mmdist.core import seeds
from mmdist.data import multiview

# Batches drawn ahead of the step that needs them.
_PREFETCHED = 4


class PixelStream:
  """An endless iterator of `PixelBatch`es with a state that can be saved.

  Subjects are numbered as in the set. Rays are drawn uniformly over subjects,
  their cameras and the pixels (method.md N7), and each gets a grey background.
  """

  def __init__(
    self,
    multiview_set: multiview.MultiviewSet,
    batch_size: int,
    seed: int,
    background: tuple[float, float] = (0.35, 1.0),
    held_out: np.ndarray | None = None,
  ):
    """Builds the pipeline.

    Args:
      multiview_set: where pixels come from.
      batch_size: N.
      seed: decides every draw.
      background: range of the grey behind the subjects.
      held_out: [M] one camera of each subject that is never drawn from.
    """
    self._set = multiview_set
    self._batch_size = batch_size
    self._seed = seed
    self._background = background
    self._pictures = _trained_pictures(multiview_set, held_out)
    self._hash = self._hash_pipeline()
    # As many as an epoch can count: nobody will draw them all.
    dataset = grain.MapDataset.range(2**62).map(self.draw)
    self._iterator = iter(
      dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=_PREFETCHED)
      )
    )

  def __iter__(self):
    return self

  def __next__(self) -> photographs.PixelBatch:
    return next(self._iterator)

  def draw(self, number: int) -> photographs.PixelBatch:
    """Draws batch `number`, always the same."""
    rng = seeds.generator(self._seed, int(number), 'pixels')
    size, resolution = self._batch_size, self._set.resolution
    picture = self._pictures[rng.integers(len(self._pictures), size=size)]
    subject, camera = picture.T
    row, column = rng.integers(resolution, size=(2, size))
    grey = rng.uniform(*self._background, (size, 1))
    rgba8 = self._set.images[subject, camera, row, column]
    coordinates = np.stack(
      [2 * (column + 0.5) / resolution - 1, 1 - 2 * (row + 0.5) / resolution],
      -1,
    )
    return photographs.PixelBatch(
      subject=subject.astype(np.int32),
      camera_to_world=self._set.camera_to_world[subject, camera],
      tan_half_fov=self._set.tan_half_fov[subject, camera],
      coordinates=coordinates.astype(np.float32),
      rgba=multiview.rgba8_to_premultiplied(rgba8),
      background=np.repeat(grey, 3, -1).astype(np.float32),
      resolution=resolution,
    )

  def get_state(self) -> dict[str, Any]:
    """Returns where the stream is, as JSON can hold it."""
    return {'pipeline': self._hash, 'iterator': self._iterator.get_state()}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes on where another stream of the same pipeline was.

    Raises:
      ValueError: the state is of another pipeline.
    """
    if state['pipeline'] != self._hash:
      raise ValueError(
        'the checkpoint was trained on other pixels (pictures, seed, batch '
        'size or held-out cameras changed); restore them, or start anew in '
        'another folder.'
      )
    self._iterator.set_state(dict(state['iterator']))

  def _hash_pipeline(self) -> str:
    digest = hashlib.sha256()
    settings = (self._batch_size, self._seed, tuple(self._background))
    digest.update(repr(settings).encode())
    arrays = (
      self._pictures,
      self._set.images,
      self._set.camera_to_world,
      self._set.tan_half_fov,
    )
    for array in arrays:
      digest.update(repr((array.shape, str(array.dtype))).encode())
      digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _trained_pictures(multiview_set, held_out) -> np.ndarray:
  """Returns [P, 2] (subject, camera) of every picture to draw from."""
  subject, camera = np.divmod(
    np.arange(multiview_set.num_subjects * multiview_set.num_cameras),
    multiview_set.num_cameras,
  )
  pictures = np.stack([subject, camera], -1)
  if held_out is not None:
    pictures = pictures[camera != np.asarray(held_out)[subject]]
  if not len(pictures):
    raise ValueError(
      'every picture is held out; give each subject at least two cameras.'
    )
  return pictures
