"""From pictures of many heads to a conditional NeRF, measured and resumable.

Steps are `mmdist.learner.pretrain`'s, pictures `mmdist.data.multiview`'s or
those of procedural heads.
"""

from collections.abc import Callable, Mapping
import dataclasses
import os
import pathlib
import time
from typing import Any
import warnings

import jax
import numpy as np

from mmdist.core import arrays
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.core import representation as representation_lib
from mmdist.core import strict_json
from mmdist.data import multiview
from mmdist.data import pixel_stream
from mmdist.heads import subjects
from mmdist.learner import pretrain as pretrain_lib
from mmdist.learner import pretrain_checkpoint
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.run import device_setup
from mmdist.run import locks

_LOG_EVERY = 100
_NUM_MEASURED = 64  # Held-out pictures that are measured at the end.
_NUM_GLANCES = 4  # Held-out pictures that are measured at every checkpoint.
_CHECKPOINT_NAME = 'training.safetensors'


@dataclasses.dataclass(frozen=True)
class Options:
  """Which pictures are learned from, and where the NeRF goes."""

  out: str = options_lib.option(
    options_lib.REQUIRED, 'Directory to make.', is_path=True
  )
  data: str = options_lib.option(
    '',
    'Folder of subjects with a transforms.json (nerfstudio) or '
    'transforms_train.json (Blender) each; procedural heads if none.',
    is_path=True,
  )


def pretrain(
  config: pretrain_lib.PretrainConfig,
  options: Options,
  report: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
  """Sets JAX up for this machine, then trains; see `train_and_measure`.

  Raises:
    FileNotFoundError, PermissionError, UserError: as `train_and_measure`; or an
      option is out of bounds.
  """
  options = options_lib.checked(options)
  device_setup.set_up_jax(len(os.sched_getaffinity(0)))
  return train_and_measure(
    config, pathlib.Path(options.out), options.data, report
  )


def train_and_measure(
  config: pretrain_lib.PretrainConfig,
  out: pathlib.Path,
  data: str = '',
  report: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
  """Trains, or goes on training, then measures; returns what it measured.

  Args:
    config: what is trained, and for how long.
    out: directory to make or to go on in.
    data: see `Options`.
    report: is told how it goes.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong.
    locks.InUse: another process works in `out`.
    PermissionError: nothing can be written there, for whatever reason.
  """
  with locks.locked(out, '--out'):
    return _train_and_measure(config, out, data, report)


def _train_and_measure(
  config: pretrain_lib.PretrainConfig,
  out: pathlib.Path,
  data: str,
  report: Callable[[str], None],
) -> dict[str, float]:
  pictures = load_set(config, data, report)
  known, unseen = split(pictures, config.num_unseen_subjects)
  representation = field.conditional_nerf(config.nerf)
  state = train(config, representation, known, out, report)
  results = measure(config, representation, state.params, known, unseen)
  atomic.write_text(
    out / 'results.json', strict_json.dumps(results, indent=2) + '\n'
  )
  return results


def load_set(
  config: pretrain_lib.PretrainConfig,
  data: str,
  report: Callable[[str], None],
) -> multiview.MultiviewSet:
  """Reads the pictures, or takes them of procedural heads.

  Oddities of the pictures that do not stop a training cause warnings.

  Args:
    config: of procedural heads: how many, and how large.
    data: see `Options`.
    report: is told what was read.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong with the files.
  """
  if data:
    pictures = multiview.read_transforms(data)
    for line in multiview.find_oddities(pictures):
      warnings.warn(line, stacklevel=2)
    report(describe(pictures))
    return pictures
  return subjects.multiview_set(
    config.seed, config.num_subjects, config.num_cameras, config.resolution
  )


def describe(pictures: multiview.MultiviewSet) -> str:
  """Returns a line about what was read."""
  lenses = 'ideal' if pictures.lenses is None else 'their own'
  return (
    f'{pictures.num_subjects} subject(s); pictures of {pictures.resolution} x '
    f'{pictures.height}, {pictures.is_trained().sum()} to train on and '
    f'{pictures.is_held_out().sum()} held out; {lenses} lenses'
  )


def split(
  pictures: multiview.MultiviewSet, num_unseen: int
) -> tuple[multiview.MultiviewSet, multiview.MultiviewSet]:
  """Returns the subjects to train on, and the last ones, kept aside.

  Raises:
    UserError: none would be left to train on.
  """
  num_known = pictures.num_subjects - num_unseen
  if num_known < 1:
    raise errors.UserError(
      f'num_unseen_subjects={num_unseen} of {pictures.num_subjects} subjects '
      'leave none to train on; give --config.num_unseen_subjects=0, or more '
      'subjects.'
    )
  return (
    pictures.take(slice(0, num_known)),
    pictures.take(slice(num_known, None)),
  )


def make_stream(
  config: pretrain_lib.PretrainConfig, pictures: multiview.MultiviewSet
) -> pixel_stream.PixelStream:
  """Returns the batches of a set, without its held-out pictures."""
  return pixel_stream.PixelStream(
    pictures,
    config.batch_size,
    config.seed,
    config.background,
    pictures.is_trained(),
  )


def train(
  config: pretrain_lib.PretrainConfig,
  representation: representation_lib.Representation,
  known: multiview.MultiviewSet,
  out: pathlib.Path,
  report: Callable[[str], None],
) -> pretrain_lib.PretrainState:
  """Runs the steps that are left; saves every `config.checkpoint_every`.

  Args:
    config: what is trained, and for how long.
    representation: the conditional NeRF.
    known: the subjects to train on.
    out: directory of the checkpoint and of the pretrained NeRF.
    report: is told how it goes.

  Raises:
    UserError: the checkpoint is damaged, or of another configuration.
  """
  stream = make_stream(config, known)
  pretraining = pretrain_lib.make_pretraining(representation, config)
  state = pretraining.init(known.num_subjects)
  checkpoint = out / _CHECKPOINT_NAME
  out.mkdir(parents=True, exist_ok=True)
  if checkpoint.is_file():
    state, stream_state = pretrain_checkpoint.load(checkpoint, state, config)
    stream.set_state(stream_state)
    report(f'goes on from step {int(state.step)}')
  if known.names:
    atomic.write_text(out / 'subjects.txt', '\n'.join(known.names) + '\n')
  meter = Meter(config.batch_size)
  for step in range(int(state.step) + 1, config.num_steps + 1):
    state, metrics = pretraining.step(state, next(stream))
    meter.add(metrics)
    if step % _LOG_EVERY == 0 or step == config.num_steps:
      report(f'step {step} {meter.read()}')
    if step % config.checkpoint_every == 0 or step == config.num_steps:
      pretrain_checkpoint.save(checkpoint, state, stream.get_state(), config)
      pretrained.save(out, config.nerf, *networks_and_codes(state.params))
      psnr = held_out_psnr(
        representation, state.params, state.params['codes'], known, _NUM_GLANCES
      )
      report(f'step {step} held-out psnr {psnr:.2f} dB')
  return state


def networks_and_codes(
  params: representation_lib.Params,
) -> tuple[dict[str, Any], np.ndarray]:
  """Splits trained parameters as `pretrained.save` wants them."""
  networks = {name: params[name] for name in params if name != 'codes'}
  return jax.device_get((networks, params['codes']))


def measure(
  config: pretrain_lib.PretrainConfig,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  known: multiview.MultiviewSet,
  unseen: multiview.MultiviewSet,
) -> dict[str, float]:
  """Returns PSNRs on held-out cameras, in decibels.

  `held_out_psnr` is of subjects that were trained on. `unseen_psnr` is of those
  kept aside, whose codes are fitted first.
  """
  results = {
    'held_out_psnr': held_out_psnr(
      representation, params, params['codes'], known
    )
  }
  if unseen.num_subjects:
    codes = pretrain_lib.fit_codes(
      representation,
      config,
      params,
      unseen.num_subjects,
      make_stream(config, unseen),
    )
    results['unseen_psnr'] = held_out_psnr(
      representation, params, codes, unseen
    )
  return results


def held_out_psnr(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  codes: arrays.Array,
  pictures: multiview.MultiviewSet,
  limit: int = _NUM_MEASURED,
) -> float:
  """Returns the mean PSNR in decibels of held-out pictures.

  Args:
    representation: the conditional NeRF.
    params: holds the networks.
    codes: [M, C] of the subjects.
    pictures: of M subjects.
    limit: so many pictures at most, evenly spaced over all subjects.
  """
  all_held_out = np.argwhere(pictures.is_held_out())
  chosen = all_held_out[
    np.unique(np.linspace(0, len(all_held_out) - 1, limit).astype(int))
  ]
  psnr = pretrain_lib.held_out_psnr(
    representation,
    params,
    np.asarray(codes)[chosen[:, 0]],
    (
      pixel_stream.read_picture(
        pictures, subject, camera, pretrain_lib.EVALUATION_BACKGROUND
      )
      for subject, camera in chosen
    ),
  )
  return float(psnr.mean())


class Meter:
  """Averages metrics between two looks at them, and counts rays."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self._clear()

  def _clear(self) -> None:
    self._sums: dict[str, float] = {}
    self._count = 0
    self._started = time.monotonic()

  def add(self, metrics: Mapping[str, Any]) -> None:
    """Counts the metrics of one step."""
    for name, value in metrics.items():
      self._sums[name] = self._sums.get(name, 0.0) + float(value)
    self._count += 1

  def read(self) -> str:
    """Returns one line and starts anew."""
    means = {name: value / self._count for name, value in self._sums.items()}
    seconds = max(time.monotonic() - self._started, 1e-6)
    speed = self._count * self._batch_size / seconds
    psnr = -10 * np.log10(means['mse'])
    self._clear()
    return (
      f'psnr {psnr:.2f} dB loss {means["loss"]:.5f} interlevel '
      f'{means["interlevel"]:.5f} opacity {means["opacity_error"]:.5f} '
      f'{speed:.0f} rays/s'
    )
