"""Pretrains the conditional NeRF on many photographed heads.

  python -m launchers.pretrain --config=experiments/pretrain.py --out=runs/nerf

The same command goes on from the last checkpoint. `--out` becomes a directory
that `--config.nerf_assets` of an optimisation takes.
"""

from collections.abc import Sequence
import json
import os
import pathlib
import time

from absl import flags
import jax
import numpy as np

from launchers import config_flag
from launchers import device_setup
from launchers import terminal
from mmdist.cameras import camera as camera_lib
from mmdist.core import atomic
from mmdist.core import config_io
from mmdist.data import heads
from mmdist.data import multiview
from mmdist.data import pixel_stream
from mmdist.learner import pretrain
from mmdist.learner import pretrain_checkpoint
from mmdist.nerf import assets
from mmdist.nerf import field

_CONFIG = config_flag.define_config(
  'experiments/pretrain.py', kind=pretrain.PretrainConfig
)
_OUT = flags.DEFINE_string('out', None, 'Directory to make.', required=True)
_DATA = flags.DEFINE_string(
  'data',
  None,
  'Folder of subjects with a transforms.json each; procedural heads if none.',
)
_LOG_EVERY = 100
_CHECKPOINT_NAME = 'training.safetensors'


def main(_: Sequence[str]) -> None:
  config = _CONFIG.value
  device_setup.set_up_jax(len(os.sched_getaffinity(0)))
  print(json.dumps(config_io.to_dict(config), indent=2))
  run(config, pathlib.Path(_OUT.value), _DATA.value)


def run(
  config: pretrain.PretrainConfig, out: pathlib.Path, data: str | None
) -> dict[str, float]:
  """Trains, or goes on training, then measures; returns what it measured."""
  known, unseen = split(load_set(config, data), config.num_unseen_subjects)
  representation = field.conditional_nerf(config.nerf)
  state = train(config, representation, known, out)
  results = measure(config, representation, state.params, known, unseen)
  atomic.write_text(out / 'results.json', json.dumps(results, indent=2) + '\n')
  print(results)
  return results


def load_set(
  config: pretrain.PretrainConfig, data: str | None
) -> multiview.MultiviewSet:
  """Reads the pictures, or takes them of procedural heads."""
  if data:
    return multiview.read_transforms(data)
  return heads.multiview_set(
    config.seed, config.num_subjects, config.num_cameras, config.resolution
  )


def split(
  pictures: multiview.MultiviewSet, num_unseen: int
) -> tuple[multiview.MultiviewSet, multiview.MultiviewSet]:
  """Returns the subjects to train on, and the last ones, kept aside."""
  num_known = pictures.num_subjects - num_unseen
  if num_known < 1:
    raise ValueError(
      f'num_unseen_subjects={num_unseen} of {pictures.num_subjects} subjects '
      'leave none to train on.'
    )
  return (
    pictures.take(slice(0, num_known)),
    pictures.take(slice(num_known, None)),
  )


def make_stream(
  config: pretrain.PretrainConfig, pictures: multiview.MultiviewSet
) -> pixel_stream.PixelStream:
  """Returns the batches of a set, one camera of each subject left out."""
  return pixel_stream.PixelStream(
    pictures,
    config.batch_size,
    config.seed,
    config.background,
    held_out(pictures),
  )


def held_out(pictures: multiview.MultiviewSet) -> np.ndarray:
  """Returns the camera of each subject that is kept from training."""
  return multiview.held_out_cameras(pictures.num_subjects, pictures.num_cameras)


def train(config, representation, known, out) -> pretrain.PretrainState:
  """Runs the steps that are left, with a checkpoint every so many."""
  stream = make_stream(config, known)
  pretraining = pretrain.make_pretraining(representation, config)
  state = pretraining.init(known.num_subjects)
  checkpoint = out / _CHECKPOINT_NAME
  out.mkdir(parents=True, exist_ok=True)
  if checkpoint.is_file():
    state, stream_state = pretrain_checkpoint.load(checkpoint, state, config)
    stream.set_state(stream_state)
    print(f'goes on from step {int(state.step)}')
  meter = Meter(config.batch_size)
  for step in range(int(state.step) + 1, config.num_steps + 1):
    state, metrics = pretraining.step(state, next(stream))
    meter.add(metrics)
    if step % _LOG_EVERY == 0 or step == config.num_steps:
      print(f'step {step} {meter.read()}', flush=True)
    if step % config.checkpoint_every == 0 or step == config.num_steps:
      pretrain_checkpoint.save(checkpoint, state, stream.get_state(), config)
      assets.save(out, config.nerf, *networks_and_codes(state.params))
  return state


def networks_and_codes(params):
  """Splits trained parameters as `assets.save` wants them."""
  networks = {name: params[name] for name in params if name != 'codes'}
  return jax.device_get((networks, params['codes']))


def measure(config, representation, params, known, unseen) -> dict[str, float]:
  """Returns PSNRs on held-out cameras, in decibels."""
  results = {
    'held_out_psnr': _psnr(representation, params, params['codes'], known)
  }
  if unseen.num_subjects:
    codes = pretrain.fit_codes(
      representation,
      config,
      params,
      unseen.num_subjects,
      make_stream(config, unseen),
    )
    results['unseen_psnr'] = _psnr(representation, params, codes, unseen)
  return results


def _psnr(representation, params, codes, pictures) -> float:
  """Mean over subjects, at most 64 of them, of their held-out pictures."""
  subjects = np.unique(
    np.linspace(0, pictures.num_subjects - 1, 64).astype(int)
  )
  cameras = held_out(pictures)[subjects]
  psnr = pretrain.held_out_psnr(
    representation,
    params,
    np.asarray(codes)[subjects],
    camera_lib.Camera(
      pictures.camera_to_world[subjects, cameras],
      pictures.tan_half_fov[subjects, cameras],
    ),
    multiview.rgba8_to_premultiplied(pictures.images[subjects, cameras]),
  )
  return float(psnr.mean())


class Meter:
  """Averages metrics between two looks at them, and counts rays."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self._clear()

  def _clear(self):
    self._sums, self._count, self._started = {}, 0, time.monotonic()

  def add(self, metrics) -> None:
    for name, value in metrics.items():
      self._sums[name] = self._sums.get(name, 0.0) + float(value)
    self._count += 1

  def read(self) -> str:
    """Returns one line and starts anew."""
    means = {name: value / self._count for name, value in self._sums.items()}
    speed = self._count * self._batch_size
    speed /= max(time.monotonic() - self._started, 1e-6)
    psnr = -10 * np.log10(means['mse'])
    self._clear()
    return (
      f'psnr {psnr:.2f} dB loss {means["loss"]:.5f} interlevel '
      f'{means["interlevel"]:.5f} opacity {means["opacity_error"]:.5f} '
      f'{speed:.0f} rays/s'
    )


if __name__ == '__main__':
  terminal.run(main)
