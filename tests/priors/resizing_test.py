import pytest
import torch
from torch.nn import functional

from mmdist.priors import resizing


def plain(images, size):
  return functional.interpolate(
    images, (size, size), mode='bilinear', align_corners=False, antialias=True
  )


@pytest.mark.parametrize('shape', [(16, 16), (64, 64), (9, 40), (64, 17)])
@pytest.mark.parametrize('size', [16, 40])
def test_images_and_gradients_are_those_of_torch(shape, size):
  images = torch.rand(2, 3, *shape, requires_grad=True)
  found, expected = resizing.resize(images, size), plain(images, size)
  torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
  given = torch.rand(found.shape)
  gradients = [
    torch.autograd.grad(one, images, given, retain_graph=True)[0]
    for one in (found, expected)
  ]
  torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


def test_images_of_the_size_are_left_alone():
  images = torch.rand(1, 3, 8, 8)
  assert resizing.resize(images, 8) is images
