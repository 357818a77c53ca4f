"""What a training says of itself: means of its metrics, and its speed."""

from collections.abc import Callable, Mapping
import time
from typing import Any, TypeVar

import numpy as np

_Batch = TypeVar('_Batch')


class Meter:
  """Averages metrics between two looks at them, and counts rays."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self._clear()

  def _clear(self) -> None:
    self._sums: dict[str, float] = {}
    self._count = 0
    self._waited_s = 0.0
    self._started = time.monotonic()

  def timed(self, draw: Callable[[], _Batch]) -> _Batch:
    """Returns what a function returns, and counts the time as waiting."""
    began = time.monotonic()
    batch = draw()
    self._waited_s += time.monotonic() - began
    return batch

  def add(self, metrics: Mapping[str, Any]) -> None:
    """Counts the metrics of one step."""
    for name, value in metrics.items():
      self._sums[name] = self._sums.get(name, 0.0) + float(value)
    self._count += 1

  def read(self) -> str:
    """Returns one line and starts anew."""
    means = {name: value / self._count for name, value in self._sums.items()}
    seconds = max(time.monotonic() - self._started, 1e-6)
    speed = self._count * self._batch_size / seconds
    psnr = -10 * np.log10(means['mse'])
    waited = self._waited_s / seconds
    self._clear()
    return (
      f'psnr {psnr:.2f} dB loss {means["loss"]:.5f} interlevel '
      f'{means["interlevel"]:.5f} opacity {means["opacity_error"]:.5f} '
      f'{speed:.0f} rays/s, {waited:.1%} waiting for pixels'
    )
