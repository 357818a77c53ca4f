"""What a CLIP model's cosines say of a run: scores, preferences, precision.

Owns arithmetic only; the cosines come from `mmdist.evaluation.clip`, and the
views from `mmdist.evaluation.agreement`. A run's texts go without view words.
"""

import numpy as np
from scipy import special

from mmdist.core import shapes


def clip_scores(cosines: np.ndarray) -> np.ndarray:
  """Returns 100 * max(cosine, 0), in [0, 100].

  Source: Hessel et al. 2021, whose factor is 2.5 where this is the 100 that
  most tables have, and who write 'A photo depicts' before a text.
  """
  return 100 * np.maximum(cosines, 0)


def pick_scores(cosines: np.ndarray, scale: float) -> np.ndarray:
  """Returns scale * cosine, the PickScore where the model is PickScore's.

  Args:
    cosines: any shape.
    scale: the model's exp(logit_scale).

  Source: Kirstain et al. 2023, "Pick-a-Pic", section 3.
  """
  return scale * np.asarray(cosines)


def preference_probabilities(
  scores: np.ndarray, others: np.ndarray
) -> np.ndarray:
  """Returns how likely each picture is preferred to another of the same text.

  The softmax over the two scores of a view, as PickScore was trained with.

  Args:
    scores: [V] PickScores.
    others: [V] of the pictures compared with, from the same views.
  """
  shapes.check_shape('others', others, scores.shape)
  return special.expit(np.subtract(scores, others))


def preference_rate(scores: np.ndarray, others: np.ndarray) -> float:
  """Returns the mean over views of the preference probability.

  Args:
    scores: [V] PickScores.
    others: [V] of the same views.

  Returns:
    In [0, 1]; above 0.5 is preferred.
  """
  return float(preference_probabilities(scores, others).mean())


def preferred_share(scores: np.ndarray, others: np.ndarray) -> float:
  """Returns the share of views that are preferred; a draw is half a view.

  Over one text only; a mean over subjects is the percentage of times that the
  paper's Fig. 6a has bars of.
  """
  shapes.check_shape('others', others, scores.shape)
  return float(np.mean((np.sign(np.subtract(scores, others)) + 1) / 2))


def r_precision(cosines: np.ndarray) -> float | None:
  """Returns how often a picture is nearest to the text it was made from.

  Args:
    cosines: [V, P] of V pictures and P texts, the first of them its own.

  Returns:
    The share of pictures, in [0, 1]; a draw is a miss. None if there is no
    other text.

  Source: Park et al. 2021, "Benchmark for compositional text-to-image
  synthesis"; DreamFusion, section 4.
  """
  if cosines.shape[1] < 2:
    return None
  return float(np.mean(cosines[:, 0] > cosines[:, 1:].max(1)))
