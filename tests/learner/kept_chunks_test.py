"""What a render keeps of its chunks, and what is computed again."""

import functools
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import gpu_flops
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.learner import distill
from mmdist.learner import kept_chunks
from mmdist.learner import partly_kept
from mmdist.learner import passes
from mmdist.nerf import field
from tests.core import compiling
from tests.learner import tiny_field

RESOLUTION = 8
NERF = schema.NerfConfig(
  code_size=4,
  nerf_depth=2,
  nerf_width=16,
  proposal_depth=1,
  proposal_width=8,
  num_proposal_samples=8,
  num_nerf_samples=8,
)


def make_inputs():
  """Returns configuration, parameters and inputs of 4 chunks of 16 rays."""
  run = schema.RunConfig(nerf=NERF)
  run.views.num_views, run.views.resolution = 1, RESOLUTION
  run.learner.chunk_size = 16
  representation = field.conditional_nerf(NERF)
  params = jax.jit(representation.init)(jax.random.key(0))
  inputs = distill._inputs(distill.sample_batch(run.views, 0, 0))
  rng = np.random.default_rng(0)
  shape = (1, RESOLUTION, RESOLUTION, 3)
  cotangents = {
    channel: rng.normal(size=shape).astype(np.float32)
    for channel in ('rgb', 'normal')
  }
  return run, representation, (params, *inputs), cotangents


def test_products_of_chunks_that_are_kept_are_not_computed_again():
  run, representation, inputs, cotangents = make_inputs()
  chunk = functools.partial(representation.render, with_normals=True)
  little = kept_chunks.keeping_little(representation, chunk)
  layout = device_mesh.local_layout(1)
  common = (run.learner, RESOLUTION, layout, representation.draw)
  of_render = gpu_flops.count(passes.make_render(chunk, *common), *inputs)
  of_vjp = gpu_flops.count(passes.make_vjp(chunk, *common), *inputs, cotangents)
  render, pull_back = kept_chunks.make_passes(little, *common)
  _, kept = jax.eval_shape(render, *inputs)
  found = gpu_flops.count(render, *inputs)
  assert found == pytest.approx(of_render, rel=0.02)
  once = gpu_flops.count(pull_back, kept, cotangents)
  assert once == pytest.approx(of_vjp - of_render, rel=0.02)
  # What is kept is little beside what a backward pass reads.
  everything, _ = kept_chunks.make_passes(chunk, *common)

  def num_bytes(render):
    leaves = jax.tree.leaves(jax.eval_shape(render, *inputs)[1])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

  assert num_bytes(render) < 0.5 * num_bytes(everything)


@pytest.mark.parametrize('num_kept', [1, 3, 4])
def test_what_is_kept_of_a_chunk_is_let_go_when_it_was_taken_back(num_kept):
  run, representation, inputs, cotangents = make_inputs()
  run.learner.num_kept_chunks = num_kept
  chunk = functools.partial(representation.render, with_normals=True)
  little = kept_chunks.keeping_little(representation, chunk)
  layout = device_mesh.local_layout(1)
  common = (run.learner, RESOLUTION, layout, representation.draw)
  with compiling.in_a_hurry():
    partial = partly_kept.PartialPasses(little, chunk, *common)
    vjp = passes.make_vjp(chunk, *common)
  _, kept = partial.render(*inputs)
  assert len(kept.chunks) == num_kept
  assert kept.has_rest == (num_kept < 4)
  masks = [weakref.ref(one.mask) for one in kept.chunks]
  gradient, _, parts = partial.pull_back(kept, cotangents)
  assert not kept.chunks and not any(mask() for mask in masks)
  expected, _, other_parts = vjp(*inputs, cotangents)

  def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

  for one, other in ((gradient, expected), (parts, other_parts)):
    # Float32 sums in another order.
    error = np.linalg.norm(flat(one) - flat(other))
    assert error < 1e-5 * np.linalg.norm(flat(other))


@pytest.mark.parametrize('num_devices, num_kept', [(1, 2), (2, 1), (3, 4)])
def test_each_device_keeps_its_own_first_chunks(num_devices, num_kept):
  numbers = np.arange(12)  # Dealt out in rows, one for each device.
  rows = numbers.reshape(num_devices, -1)
  kept = []
  for index in range(num_kept):
    chosen = partly_kept._choose({'number': numbers}, index, num_devices)
    np.testing.assert_array_equal(chosen['number'], rows[:, index])
    kept.append(chosen)
  rest = None
  if num_kept < rows.shape[1]:
    others = rows.copy()
    others[:, :num_kept] = 0
    rest = {'number': jnp.asarray(others.ravel())}
  joined = partly_kept._put_first(kept, rest, num_devices)
  np.testing.assert_array_equal(joined['number'], numbers)


def test_more_chunks_than_a_device_has_are_refused_when_devices_are_known():
  run = schema.RunConfig()
  run.views.num_views, run.views.resolution = 2, RESOLUTION
  run.learner.chunk_size, run.learner.num_kept_chunks = 16, 9
  with pytest.raises(ValueError, match='is 9; expected at most 8: each device'):
    distill.make_learner(
      tiny_field.tiny_field(), run, layout=device_mesh.local_layout(1)
    )
