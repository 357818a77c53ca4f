"""From pictures of many heads to a conditional NeRF, measured and resumable.

Steps are `mmdist.learner.pretrain`'s, pictures `mmdist.data.multiview`'s or
those of procedural heads.
"""

import collections
from collections.abc import Callable
import contextlib
import dataclasses
import pathlib
from typing import Any
import warnings

import jax
import numpy as np

from mmdist.config import serialization
from mmdist.core import arrays
from mmdist.core import atomic
from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.core import representation as representation_lib
from mmdist.core import strict_json
from mmdist.data import multiview
from mmdist.data import pixel_stream
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.learner import hosts as hosts_lib
from mmdist.learner import pretrain as pretrain_lib
from mmdist.learner import pretrain_checkpoint
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.run import device_setup
from mmdist.run import host_environment
from mmdist.run import locks
from mmdist.training import meter
from mmdist.training import pixel_feeding

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
  if config.num_hosts > 1:
    host_environment.check(config.num_hosts)
  device_setup.set_up_jax(cores.count())
  out = pathlib.Path(options.out)
  if config.num_hosts == 1:
    return train_and_measure(config, out, options.data, report)
  hosts = host_environment.join(config.num_hosts, serialization.to_dict(config))
  with contextlib.closing(hosts):
    if hosts.leads:
      return train_and_measure(config, out, options.data, report, hosts)
    _follow(config, options.data, hosts)
    return {}


def _follow(
  config: pretrain_lib.PretrainConfig, data: str, hosts: hosts_lib.Hosts
) -> None:
  """Takes the same steps as host 0, and writes nothing."""
  pretrain_lib.check(config)
  pictures = load_set(config, data, lambda line: None)
  known, _ = split(pictures, config.num_unseen_subjects)
  representation = field.conditional_nerf(config.nerf)
  train(config, representation, known, None, lambda line: None, hosts)
  hosts.receive()  # Host 0 has saved the last step.


def train_and_measure(
  config: pretrain_lib.PretrainConfig,
  out: pathlib.Path,
  data: str = '',
  report: Callable[[str], None] = lambda line: None,
  hosts: hosts_lib.Hosts | None = None,
) -> dict[str, float]:
  """Trains, or goes on training, then measures; returns what it measured.

  Args:
    config: what is trained, and for how long.
    out: directory to make or to go on in.
    data: see `Options`.
    report: is told how it goes.
    hosts: those that train with this one; None: it is alone.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong.
    HostLost: another host is gone; the last checkpoint is whole.
    locks.InUse: another process works in `out`.
    PermissionError: nothing can be written there, for whatever reason.
  """
  with locks.locked(out, '--out'):
    return _train_and_measure(config, out, data, report, hosts)


def _train_and_measure(
  config: pretrain_lib.PretrainConfig,
  out: pathlib.Path,
  data: str,
  report: Callable[[str], None],
  hosts: hosts_lib.Hosts | None,
) -> dict[str, float]:
  pretrain_lib.check(config)  # Before minutes of drawing.
  pictures = load_set(config, data, report)
  known, unseen = split(pictures, config.num_unseen_subjects)
  representation = field.conditional_nerf(config.nerf)
  state = train(config, representation, known, out, report, hosts)
  if hosts is not None:
    hosts.close()  # What is left to do is not theirs.
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
    config: of procedural heads: whose, how many, and how large.
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
    worlds.get(config.world),
    config.seed,
    config.num_subjects,
    config.num_cameras,
    config.resolution,
    expressive=config.expressive,
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


def train(
  config: pretrain_lib.PretrainConfig,
  representation: representation_lib.Representation,
  known: multiview.MultiviewSet,
  out: pathlib.Path | None,
  report: Callable[[str], None],
  hosts: hosts_lib.Hosts | None = None,
) -> pretrain_lib.PretrainState:
  """Runs the steps that are left; saves every `config.checkpoint_every`.

  Args:
    config: what is trained, and for how long.
    representation: the conditional NeRF.
    known: the subjects to train on.
    out: directory of the checkpoint and of the pretrained NeRF; None writes
      nothing, as hosts other than the first.
    report: is told how it goes.
    hosts: those that train together, of which each calls this function; None
      is this process alone.

  Returns:
    The last state, as this process can read it.

  Raises:
    UserError: the checkpoint is damaged, or of another configuration.
    HostLost: another host is gone.
  """
  pretraining = pretrain_lib.make_pretraining(representation, config)
  layout = pretraining.layout
  pictures = pixel_feeding.place_pictures(config, known, layout)
  stream = pixel_feeding.make_stream(config, known, pictures is not None)
  state = pretraining.init(known.num_subjects)
  if out is not None:
    state = _go_on(config, state, stream, known, out, report)
  if hosts is not None:
    state = _begin_together(hosts, state, stream)
  # Through the host, as steps return it: else the second is compiled again.
  state = layout.replicate(jax.device_get(state))
  wait = hosts.wait if hosts else jax.block_until_ready
  # A GPU takes the next step while the last one's numbers are read. On the
  # devices of one CPU, two all-reduces at a time may never end.
  num_ahead = 0 if hosts or layout.platform == 'cpu' else 1
  ahead: collections.deque[dict[str, jax.Array]] = collections.deque()
  timing = meter.Meter(config.batch_size)
  for step in range(int(state.step) + 1, config.num_steps + 1):
    batch = timing.timed(lambda: next(stream))
    is_last = step == config.num_steps
    says = step % _LOG_EVERY == 0 or is_last
    saves = step % config.checkpoint_every == 0 or is_last
    with hosts.blamed(step) if hosts else contextlib.nullcontext():
      state, metrics = pretraining.step(state, batch, pictures)
      ahead.append(metrics)
      while len(ahead) > (0 if says or saves else num_ahead):
        wait(ahead[0])
        timing.add(jax.device_get(ahead.popleft()))
    if out is None:
      continue
    if says:
      report(f'step {step} {timing.read()}')
    if saves:
      mine = layout.local(state)
      pretrain_checkpoint.save(
        out / _CHECKPOINT_NAME, mine, stream.get_state(), config
      )
      pretrained.save(out, config.nerf, *networks_and_codes(mine.params))
      psnr = held_out_psnr(
        representation, mine.params, mine.params['codes'], known, _NUM_GLANCES
      )
      report(f'step {step} held-out psnr {psnr:.2f} dB')
  return layout.local(state)


def _go_on(
  config: pretrain_lib.PretrainConfig,
  state: pretrain_lib.PretrainState,
  stream: pixel_stream.PixelStream,
  known: multiview.MultiviewSet,
  out: pathlib.Path,
  report: Callable[[str], None],
) -> pretrain_lib.PretrainState:
  """Returns the checkpoint's state, with the stream at its place, if any."""
  checkpoint = out / _CHECKPOINT_NAME
  out.mkdir(parents=True, exist_ok=True)
  if checkpoint.is_file():
    state, stream_state = pretrain_checkpoint.load(checkpoint, state, config)
    stream.set_state(stream_state)
    report(f'goes on from step {int(state.step)}')
  if known.names:
    atomic.write_text(out / 'subjects.txt', '\n'.join(known.names) + '\n')
  return state


def _begin_together(
  hosts: hosts_lib.Hosts,
  state: pretrain_lib.PretrainState,
  stream: pixel_stream.PixelStream,
) -> pretrain_lib.PretrainState:
  """Has all hosts begin with host 0's state, at its place in the stream.

  Every host draws the same batches, which are numbers, and computes its part.

  Raises:
    UserError: a host has other pictures.
  """
  if hosts.leads:
    hosts.announce({'stream': stream.get_state()})
  else:
    stream.set_state(hosts.receive()['stream'])
  return hosts.broadcast(state)


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
      pixel_feeding.make_stream(config, unseen),
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
