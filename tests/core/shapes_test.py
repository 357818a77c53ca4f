import numpy as np
import pytest

from mmdist.core import shapes


def test_letters_stand_for_any_size():
  shapes.check_shape('images', np.zeros((2, 5, 7, 3)), ('V', 'H', 'W', 3))


@pytest.mark.parametrize('shape', [(4, 3), (4, 4, 2), (4, 5, 3)])
def test_a_letter_means_one_size(shape):
  with pytest.raises(
    ValueError, match=r'maps has shape .*expected \[N, N, 3\]'
  ):
    shapes.check_shape('maps', np.zeros(shape), ('N', 'N', 3))
