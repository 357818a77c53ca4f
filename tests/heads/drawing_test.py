import subprocess
import sys

import numpy as np

from mmdist.heads import drawing
from mmdist.heads import kinship

SIZE = kinship.FAMILY_SIZE


def test_families_come_first_and_then_pictures_on_their_own():
  numbers = drawing.family_numbers(18, True)
  # 0.6 of 18 pictures are two families.
  assert list(np.bincount(numbers)) == [SIZE, SIZE] + [1] * (18 - 2 * SIZE)
  assert (np.diff(numbers) >= 0).all()
  np.testing.assert_array_equal(drawing.family_numbers(6, False), np.arange(6))


def test_whoever_draws_needs_neither_jax_nor_torch():
  code = (
    'import sys; from mmdist.heads import prefetch; '
    "sys.exit(bool({'jax', 'torch', 'flax'} & set(sys.modules)))"
  )
  subprocess.run([sys.executable, '-c', code], check=True)
