"""What colours a step's renders have, from the pictures it has anyway.

Owns the numbers; what is unusual about them is said by
`mmdist.run.early_warnings`. Nothing here touches the learner's arrays.
"""

import numpy as np

from mmdist.core import arrays

# A pixel belongs to the head if at least this much of it is covered. Less than
# in `mmdist.evaluation.metrics`, because here the background is taken out.
HEAD_OPACITY = 0.5
NAMES = ('color/red', 'color/green', 'color/blue')


def measure(
  rgb: arrays.Array, acc: arrays.Array, backgrounds: arrays.Array
) -> dict[str, float]:
  """Returns how saturated the head is, its mean colour, and how sure that is.

  Args:
    rgb: [V, H, W, 3] in [0, 1], composited over the backgrounds.
    acc: [V, H, W] opacity.
    backgrounds: [V, 3] colours in [0, 1].

  Returns:
    `saturation`, the mean HSV saturation of the head's pixels in [0, 1].
    `color/red`, `color/green` and `color/blue`, the mean over views of the mean
    colour of these pixels. `color_variance`, the variance that this mean has
    because the views are drawn at random: the sum over channels of the unbiased
    variance between views, divided by the number of views; only with two views
    or more. Views that do not show the head do not count; {} if none does.
  """
  rgb, acc = np.asarray(rgb), np.asarray(acc)
  means, saturations, num_pixels = [], [], []
  for image, opacity, background in zip(rgb, acc, np.asarray(backgrounds)):
    is_head = opacity >= HEAD_OPACITY
    if not is_head.any():
      continue
    covered = opacity[is_head][:, None].astype(np.float64)
    colors = (image[is_head] - (1 - covered) * background) / covered
    colors = np.clip(colors, 0, 1)
    top, bottom = colors.max(-1), colors.min(-1)
    means.append(colors.mean(0))
    saturations.append(np.sum((top - bottom) / np.maximum(top, 1e-6)))
    num_pixels.append(len(colors))
  if not means:
    return {}
  color = np.mean(means, 0)
  stats = {'saturation': float(sum(saturations) / sum(num_pixels))}
  stats |= dict(zip(NAMES, map(float, color), strict=True))
  if len(means) > 1:
    variance = np.var(means, axis=0, ddof=1).sum() / len(means)
    stats['color_variance'] = float(variance)
  return stats
