"""What a learner is expected to need, against what XLA reserves for it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.learner import distill
from mmdist.learner import kept_chunks
from mmdist.learner import learner_memory
from mmdist.learner import passes
from mmdist.nerf import field

RESOLUTION = 16


def make_run(**changes):
  return schema.RunConfig(
    views=schema.ViewsConfig(resolution=RESOLUTION),
    learner=schema.LearnerConfig(**changes),
  )


def reserved(representation, params, run):
  """Returns the bytes that the compiled second pass takes while it runs.

  Without `learner.remat` those that the first leaves for it are among them.
  """
  render_chunk = functools.partial(representation.render, with_normals=True)
  layout = device_mesh.local_layout(1)
  common = (render_chunk, run.learner, RESOLUTION, layout)
  inputs = distill._inputs(distill.sample_batch(run.views, 0, 0))
  shape = (run.views.num_views, RESOLUTION, RESOLUTION, 3)
  pixels = jax.ShapeDtypeStruct(shape, np.float32)
  cotangents = {'rgb': pixels, 'normal': pixels}
  if not run.learner.remat:
    little = kept_chunks.keeping_little(representation, render_chunk)
    render, pull_back = kept_chunks.make_passes(little, *common[1:])
    _, kept = jax.eval_shape(render, params, *inputs)
    compiled = pull_back.lower(kept, cotangents).compile()
    return compiled.memory_analysis().temp_size_in_bytes + sum(
      leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept)
    )
  vjp = passes.make_vjp(*common)
  lowered = vjp.lower(params, *inputs, cotangents)
  return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes', [{'chunk_size': 64}, {'chunk_size': 128, 'remat': False}]
)
def test_activations_are_what_xla_reserves(changes):
  run = make_run(**changes)
  representation = field.conditional_nerf(run.nerf)
  params = jax.eval_shape(representation.init, jax.random.key(0))
  counted = learner_memory.estimate(representation, params, run, 1)
  ratio = reserved(representation, params, run) / counted.activations
  assert 0.6 < ratio < 1.2


def counted(num_devices=1, with_normals=True, **changes):
  run = make_run(**changes)
  representation = field.conditional_nerf(run.nerf)
  params = jax.eval_shape(representation.init, jax.random.key(0))
  return learner_memory.estimate(
    representation, params, run, num_devices, with_normals
  )


def test_memory_follows_the_rays_that_are_kept_at_a_time():
  one = counted(chunk_size=64)
  # 2 views of 16 x 16 pixels are 8 chunks of 64 rays.
  every = counted(chunk_size=64, remat=False)
  kept = [counted(chunk_size=64, num_kept_chunks=n) for n in (1, 8)]
  assert kept[1].activations == every.activations
  # Of those that are kept there are the products; of one there is everything.
  each = kept[0].activations - one.activations
  assert every.activations == one.activations + 8 * each
  assert each < 0.4 * one.activations
  assert kept[1].kept_on_device == kept[1].kept_on_machine == (8, each)
  twice = counted(chunk_size=128)
  assert 1.9 * one.activations < twice.activations < 2.1 * one.activations
  assert counted(with_normals=False).activations < 0.7 * one.activations
  spread = counted(num_devices=4, chunk_size=64)
  assert spread.activations == one.activations
  assert 4 * spread.pixels == one.pixels
  assert spread.num_devices == 4


def test_parameters_are_counted_with_what_belongs_to_them():
  one = counted()
  run = make_run()
  representation = field.conditional_nerf(run.nerf)
  params = jax.eval_shape(representation.init, jax.random.key(0))
  leaves = jax.tree.leaves(params)
  assert one.parameters == 4 * sum(np.prod(leaf.shape) for leaf in leaves)
  assert one.on_device == 8 * one.parameters + one.activations + one.pixels
  two = dataclasses.replace(one, num_devices=2)
  assert two.on_machine == 2 * one.on_device + 3 * one.parameters
