"""How far an avatar is from the subject it should be, where that is known.

Owns the comparison of pictures from the same views. The truth is handed in:
for procedural heads `mmdist.evaluation.known_heads` renders it.
"""

from collections.abc import Mapping

import numpy as np

from mmdist.core import shapes
from mmdist.evaluation import metrics


def compare(
  shown: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Measures an avatar's pictures against its subject's.

  Args:
    shown: 'rgb' [V, H, W, 3] in [0, 1], 'normals' [V, H, W, 3] coloured
      (n + 1) / 2 and 'acc' [V, H, W] opacity.
    truth: the same of the subject, over the same background.

  Returns:
    'psnr' in dB and 'ssim', means over views; 'normal_error_deg'.
  """
  for name in ('rgb', 'normals', 'acc'):
    shapes.check_shape(f"truth's {name}", truth[name], shown[name].shape)
  pairs = list(zip(shown['rgb'], truth['rgb']))
  return {
    'psnr': float(np.mean([metrics.psnr(*pair) for pair in pairs])),
    'ssim': float(np.mean([metrics.ssim(*pair) for pair in pairs])),
    'normal_error_deg': normal_error_deg(
      shown['normals'], shown['acc'], truth['normals'], truth['acc']
    ),
  }


def normal_error_deg(
  normals: np.ndarray,
  acc: np.ndarray,
  true_normals: np.ndarray,
  true_acc: np.ndarray,
) -> float:
  """Mean angle between normals and the true ones.

  Args:
    normals: [..., H, W, 3] coloured (n + 1) / 2.
    acc: [..., H, W] opacity.
    true_normals: the same, of the subject.
    true_acc: likewise.

  Returns:
    Degrees, over the pixels where both show the head; NaN if there is none.
  """
  both = np.minimum(acc, true_acc) > metrics.HEAD_OPACITY
  if not both.any():
    return float('nan')
  a, b = (
    2 * np.asarray(colors, np.float64)[both] - 1
    for colors in (normals, true_normals)
  )
  # Unlike an arc cosine's, this one's error does not grow near 0 degrees.
  across = np.linalg.norm(np.cross(a, b), axis=-1)
  return float(np.degrees(np.arctan2(across, np.sum(a * b, -1)).mean()))
