"""Group norms take their gradients in the layout that is fast, and exactly."""

import copy

import pytest
import torch

from mmdist.priors import norms

CPU = torch.device('cpu')


def _pair(dtype, **kwargs):
  plain = torch.nn.GroupNorm(4, 12, **kwargs).to(dtype)
  if plain.affine:
    torch.nn.init.normal_(plain.weight)
    torch.nn.init.normal_(plain.bias)
  quick = torch.nn.Sequential(copy.deepcopy(plain))
  norms.quicken(quick, CPU)
  return plain, quick


def _answers(network, x, gradient):
  """Returns the output, and gradients by the input and by all weights."""
  x = x.clone().requires_grad_(True)
  with torch.autocast('cpu', torch.bfloat16):
    y = network(x)
  y.backward(gradient.to(y.dtype))
  return [y.detach(), x.grad, *(w.grad for w in network.parameters())]


def _numbers(dtype, layout=torch.channels_last, pixels=(8, 6)):
  generator = torch.Generator().manual_seed(0)
  x, gradient = torch.randn(2, 3, 12, *pixels, generator=generator).to(dtype)
  return x.contiguous(memory_format=layout), gradient


@pytest.mark.parametrize('pixels', [(8, 6), (32, 40)])
@pytest.mark.parametrize('weights', [torch.float32, torch.bfloat16])
def test_numbers_are_those_of_torch_with_channels_first(weights, pixels):
  plain, quick = _pair(weights)
  x, gradient = _numbers(torch.bfloat16, pixels=pixels)
  expected = _answers(plain, x.contiguous(), gradient)
  found = _answers(quick, x, gradient)
  assert len(found) == len(expected) == 4
  for image in found[:2]:
    assert image.is_contiguous(memory_format=torch.channels_last)
  for a, b in zip(found, expected, strict=True):
    # Of many pixels the mean is added up in the order of their layout.
    torch.testing.assert_close(a, b, rtol=2**-7, atol=2e-2)


def test_gradients_come_from_sums_with_channels_first(monkeypatch):
  layouts = []
  native = torch.ops.aten.native_group_norm_backward

  def watched(dy, x, *args):
    layouts.append((dy.is_contiguous(), x.is_contiguous()))
    return native(dy, x, *args)

  monkeypatch.setattr(
    torch.ops.aten, 'native_group_norm_backward', watched, raising=False
  )
  _, quick = _pair(torch.float32)
  _answers(quick, *_numbers(torch.bfloat16))
  assert layouts == [(True, True)]


@pytest.mark.parametrize('trains', [(False, False), (True, False)])
def test_what_is_frozen_gets_no_gradient(trains):
  _, quick = _pair(torch.float32)
  weight, bias = quick.parameters()
  weight.requires_grad_(trains[0])
  bias.requires_grad_(trains[1])
  _, by_x, by_weight, by_bias = _answers(quick, *_numbers(torch.bfloat16))
  assert by_x.abs().sum() > 0
  assert (by_weight is not None, by_bias is not None) == trains


@pytest.mark.parametrize(
  'dtype, layout, affine',
  [
    (torch.float32, torch.channels_last, True),
    (torch.bfloat16, torch.contiguous_format, True),
    (torch.bfloat16, torch.channels_last, False),
  ],
)
def test_everything_else_is_left_to_torch(dtype, layout, affine):
  plain, quick = _pair(torch.float32, affine=affine)
  x, gradient = _numbers(dtype, layout)
  for a, b in zip(
    _answers(quick, x, gradient), _answers(plain, x, gradient), strict=True
  ):
    assert torch.equal(a, b)


def test_names_of_weights_stay_and_other_devices_are_left_alone():
  plain = torch.nn.Sequential(torch.nn.GroupNorm(4, 12))
  names = list(plain.state_dict())
  norms.quicken(plain, torch.device('cuda'))
  assert type(plain[0]) is torch.nn.GroupNorm
  norms.quicken(plain, CPU)
  assert type(plain[0]) is norms.GroupNorm
  assert list(plain.state_dict()) == names
  assert list(copy.deepcopy(plain).state_dict()) == names
