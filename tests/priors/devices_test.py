"""What `auto` stands for, on machines of every kind."""

from unittest import mock

import numpy as np
import pytest
import torch

from mmdist.core import errors
from mmdist.core import messages
from mmdist.priors import devices
from mmdist.priors import footprint
from mmdist.priors import memory_needs
from mmdist.priors import prior as priors
from mmdist.priors import schedule as schedules
from tests.priors import guidance_oracle
from tests.priors import tiny

CPU, CUDA = torch.device('cpu'), torch.device('cuda')


def have(monkeypatch, *instructions):
  monkeypatch.setattr(
    torch.cpu,
    'get_capabilities',
    lambda: {'avx2': True} | dict.fromkeys(instructions, True),
    raising=False,
  )


@pytest.mark.parametrize(
  'instructions, dtype',
  [
    ((), torch.float32),
    (('avx512_f', 'amx_int8'), torch.float32),
    (('avx512_f', 'avx512_bf16'), torch.bfloat16),
    (('amx_bf16',), torch.bfloat16),
    (('neon', 'bf16'), torch.bfloat16),
  ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
  monkeypatch, instructions, dtype
):
  have(monkeypatch, *instructions)
  assert devices.resolve_dtype('auto', CPU) == dtype


def test_auto_is_float32_where_torch_cannot_tell(monkeypatch):
  monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
  assert devices.resolve_dtype('auto', CPU) == torch.float32


@pytest.mark.parametrize('native', [True, False])
def test_an_emulating_gpu_computes_in_float32(monkeypatch, native):
  # A V100 beside an A100.
  capabilities = {0: (8, 0), 1: (7, 0)}
  monkeypatch.setattr(
    torch.cuda,
    'get_device_capability',
    lambda device: capabilities[device.index],
  )
  monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
  expected = torch.bfloat16 if native else torch.float32
  device = torch.device('cuda', 0 if native else 1)
  assert devices.resolve_dtype('auto', device) == expected


def test_a_gpu_of_another_machine_is_planned_for_and_not_opened(monkeypatch):
  monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
  assert devices.planned_device('cuda:1') == torch.device('cuda:1')
  assert devices.resolve_dtype('auto', CUDA) == torch.bfloat16
  with pytest.raises(errors.UserError, match='no CUDA device'):
    devices.resolve_device('cuda:1')


@pytest.mark.parametrize('name', messages.DTYPES[1:])
def test_a_dtype_that_is_asked_for_is_taken_anywhere(monkeypatch, name):
  have(monkeypatch)
  assert devices.resolve_dtype(name, CPU) == getattr(torch, name)


def test_a_dtype_that_nobody_knows_is_one_line():
  with pytest.raises(errors.UserError, match="did you mean 'float32'"):
    devices.resolve_dtype('float23', CPU)


@pytest.mark.parametrize('instructions', [(), ('avx512_bf16',)])
def test_a_prior_of_auto_is_bit_for_bit_the_prior_that_names_it(
  tmp_path, monkeypatch, instructions
):
  have(monkeypatch, *instructions)
  directory = tiny.write_pipeline(tmp_path)
  named = 'bfloat16' if instructions else 'float32'
  request = messages.ScoreRequest(
    step=0,
    images=np.full((1, 16, 16, 3), 0.4, np.float32),
    terms=(messages.Term(('a man',), 'a man', 1.0, 2.0),),
    noise_levels=np.full(1, 0.5, np.float32),
    seed=3,
    proxy_step=0,
    proxy_learning_rate=1e-3,
  )
  answers = []
  for dtype in ('auto', named):
    prior = priors.build(tiny.spec(directory, dtype=dtype))
    assert prior.pipeline.dtype == getattr(torch, named)
    answers.append(prior.score(request).cotangent)
  assert answers[0].tobytes() == answers[1].tobytes()


def test_the_memory_line_names_the_dtype_and_warns_of_a_slow_one(
  tmp_path, monkeypatch
):
  directory = tiny.write_pipeline(tmp_path)

  def line(dtype):
    spec = tiny.spec(directory, dtype=dtype)
    estimates = {'a': footprint.estimate(spec, 1)}
    return memory_needs.format_lines(estimates, {'a': 'a'})[0]

  have(monkeypatch)
  assert ' in float32,' in line('auto')
  assert ' in bfloat16, which this cpu emulates slowly,' in line('bfloat16')
  have(monkeypatch, 'avx512_bf16')
  assert ' in bfloat16, text' in line('auto')


@pytest.mark.parametrize(
  'name', ['gpu', 'xpu', 'meta', 'cuda:x', '', 'cuda:-2']
)
def test_a_kind_of_device_that_priors_do_not_know_is_one_line(name):
  line = f"device is '{name}'; expected auto, cpu, cuda, cuda:NUMBER or mps"
  with pytest.raises(errors.UserError, match=line):
    devices.resolve_device(name)


def test_a_gpu_of_apple_that_is_not_there_is_one_line(monkeypatch):
  assert devices.planned_device('mps').type == 'mps'
  monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
  with pytest.raises(errors.UserError, match="finds no GPU of Apple's; give"):
    devices.resolve_device('mps')
  monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
  device = devices.resolve_device('mps')
  # Its tensors have no float64, and its bfloat16 is not known to be faster.
  assert devices.resolve_dtype('auto', device) == torch.float32


def test_a_gpu_with_too_high_a_number_is_one_line(monkeypatch):
  monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
  monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
  assert devices.resolve_device('cuda:1').index == 1
  with pytest.raises(errors.UserError, match='finds 2 CUDA.*cuda:0 to cuda:1'):
    devices.resolve_device('cuda:2')


class OnApple(torch.utils._python_dispatch.TorchDispatchMode):
  """Refuses what a GPU of Apple's lacks: numbers of 64 bits with a point."""

  def __torch_dispatch__(self, function, types, args=(), kwargs=None):
    result = function(*args, **(kwargs or {}))
    for one in torch.utils._pytree.tree_leaves(result):
      if isinstance(one, torch.Tensor) and one.dim():
        assert one.dtype != torch.float64, function
    return result


@pytest.mark.parametrize('kind', ['vsd', 'asd', 'sdi'])
def test_scores_and_fits_have_no_float64(tmp_path, kind):
  prior = priors.build(
    tiny.spec(tiny.write_pipeline(tmp_path, codec='vae'), objective=kind)
  )
  request = guidance_oracle.make_request()
  levels = schedules.t_to_timestep
  with (
    OnApple(),
    mock.patch.object(
      schedules,
      't_to_timestep',
      # On the CPU, and whole numbers when it leaves it.
      lambda schedule, t: _outside(levels, schedule, t),
    ),
  ):
    prior.score(request)
    prior.fit()


def _outside(function, *args):
  with torch.utils._python_dispatch._disable_current_modes():
    return function(*args)
