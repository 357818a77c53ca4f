"""Pretraining on a GPU: rays per second, by network, precision and feeding."""

import functools

from experiments.benchmarks import feeding
from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_learner
from mmdist.data import multiview
from mmdist.learner import pretrain
from mmdist.nerf import field
from mmdist.run import device_setup

# Network, precision, where pictures lie, rays of a step, rays at a time.
_CASES = (
  ('heads', 'bfloat16', 'device', 65536, 65536),
  ('heads', 'bfloat16', 'host', 65536, 65536),
  ('heads', 'float32', 'device', 65536, 65536),
  ('preface', 'bfloat16', 'device', 65536, 8192),
  ('preface', 'float32', 'device', 65536, 4096),
)


def measure(job: gpu_job.Job) -> None:
  """Fills the tables of draws and of steps."""
  device_setup.set_up_jax(1)
  pictures = feeding.random_set(*((3, 3, 8) if job.tiny else (100, 14, 256)))
  for row in feeding.measure_drawing(pictures, 64 if job.tiny else 65536):
    job.add('pretraining: drawing', row)
  cases = (('tiny', 'bfloat16', 'device', 64, 32),) if job.tiny else _CASES
  for name, compute, pixels, batch_size, chunk_size in cases:
    nerf = feeding.TINY if job.tiny else field.PRESETS[name]
    config = pretrain.PretrainConfig(
      nerf=nerf,
      batch_size=batch_size,
      chunk_size=chunk_size,
      num_devices=1,
      compute=compute,
      pixels=pixels,
    )
    label: gpu_job.Row = {'nerf': name, 'compute': compute, 'pixels': pixels}
    label |= {'rays': batch_size, 'chunk': chunk_size}
    job.attempt(
      'pretraining: steps',
      label,
      functools.partial(_measure, config, pictures),
      needs_s=2 if job.tiny else 15,
    )


def _measure(
  config: pretrain.PretrainConfig, pictures: multiview.MultiviewSet
) -> gpu_job.Row:
  return feeding.time_steps(config, pictures) | gpu_learner.peak_memory()
