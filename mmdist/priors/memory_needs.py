"""What priors need in memory: the record of it, its sums and its words.

It is counted by `footprint.py`, which imports torch. Here nothing does, and
what was counted once for the same files is taken from the user's cache.
"""

from collections.abc import Hashable, Mapping
import dataclasses
import pathlib
import platform
import re

from mmdist.core import messages
from mmdist.core import progress
from mmdist.core import user_cache
from mmdist.priors import declared
from mmdist.priors import locate

_KIND = 'footprints'  # Folder of the records.
# What there is in /dev where torch may find a GPU: of NVIDIA, also on a Jetson
# or in Windows' Linux, or of AMD.
_GPU_FILES = ('nvidia*', 'nvhost*', 'dxg', 'kfd')


@dataclasses.dataclass(frozen=True)
class Footprint:
  """An estimate, in bytes.

  Attributes:
    denoiser: the frozen network's weights.
    text: the text encoders' weights, on whatever device.
    vae: the VAE's weights; 0 in pixel space.
    proxy: LoRA weights, gradients and Adam's two moments, in float32; of all
      proxies where each text has its own.
    activations: of one fit, of the largest pass of a score or of the way back
      through the VAE's encoder, whichever is most.
    offloaded: whether the text encoders lie on the CPU and the rest does not.
    dtype: what the network will compute in, in words.
  """

  denoiser: int
  text: int
  vae: int
  proxy: int
  activations: int
  offloaded: bool = False
  dtype: str = 'float32'

  @property
  def total(self) -> int:
    """Bytes on the prior's device."""
    text = 0 if self.offloaded else self.text
    return self.denoiser + text + self.vae + self.own

  @property
  def own(self) -> int:
    """Bytes that a prior does not share with others of the same files."""
    return self.proxy + self.activations


@dataclasses.dataclass(frozen=True)
class Need:
  """What one prior needs, and where.

  Attributes:
    footprint: how much.
    on_cpu: whether it is in the memory of this machine's CPU.
  """

  footprint: Footprint
  on_cpu: bool


def of_prior(
  spec: messages.PriorSpec, num_views: int, num_texts: int = 1
) -> Need:
  """Returns what a prior needs, without loading a weight.

  Args:
    spec, num_views, num_texts: see `footprint.estimate`.

  Raises:
    FileNotFoundError, UserError: as `footprint.estimate`.
  """
  key = _key(spec, num_views, num_texts)
  record = user_cache.read(_KIND, key) if key else None
  if record is not None:
    try:
      return Need(Footprint(**record['footprint']), bool(record['on_cpu']))
    except (KeyError, TypeError):  # Not as it was written.
      pass
  # Here, because it imports torch.
  from mmdist.priors import footprint

  need = Need(
    footprint.estimate(spec, num_views, num_texts), footprint.is_on_cpu(spec)
  )
  if key:
    user_cache.write(_KIND, key, dataclasses.asdict(need))
  return need


def _key(
  spec: messages.PriorSpec, num_views: int, num_texts: int
) -> str | None:
  """Returns a hash of all that an estimate follows from; None if not known."""
  # Which GPUs there are, and what they compute in, is torch's to say.
  devices = pathlib.Path('/dev')
  if any(any(devices.glob(pattern)) for pattern in _GPU_FILES):
    return None
  options = spec.options
  files = declared.key(locate.locate(options.directory, options.base))
  asked = spec.options, num_views, num_texts
  return user_cache.key_of(files, asked, platform.machine(), _instructions())


def _instructions() -> str:
  """Returns what this processor can do, by which 'auto' takes a dtype."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text('utf-8', 'replace')
  except OSError:  # Another system.
    return platform.processor()
  found = re.search(r'^(?:flags|Features)\s*:(.*)$', lines, re.MULTILINE)
  return found[1].strip() if found else platform.processor()


def sum_of(
  footprints: Mapping[str, Footprint], models: Mapping[str, Hashable]
) -> tuple[int, list[list[str]]]:
  """Adds footprints up; frozen weights that priors share count once.

  Args:
    footprints: of priors, by name.
    models: prior -> what those agree in that share a frozen model.

  Returns:
    Bytes, and the names of the priors of each model that several share.
  """
  users: dict[Hashable, list[str]] = {}
  for name in footprints:
    users.setdefault(models[name], []).append(name)
  total = sum(
    footprints[name].total if name == names[0] else footprints[name].own
    for names in users.values()
    for name in names
  )
  return total, [names for names in users.values() if len(names) > 1]


def format_lines(
  footprints: Mapping[str, Footprint], models: Mapping[str, Hashable]
) -> list[str]:
  """Returns a line per prior, and the sum if there are several.

  Args:
    footprints, models: see `sum_of`.
  """
  shown = progress.format_bytes
  lines = []
  for name, f in footprints.items():
    text = shown(f.text) + (' on the CPU' if f.offloaded else '')
    parts = [f'network {shown(f.denoiser)} in {f.dtype}', f'text {text}']
    parts += [f'VAE {shown(f.vae)}'] if f.vae else []
    parts += [f'proxy {shown(f.proxy)}'] if f.proxy else []
    parts.append(f'activations {shown(f.activations)}')
    lines.append(
      f"memory of prior '{name}': about {shown(f.total)} ({', '.join(parts)})"
    )
  if len(footprints) > 1:
    total, shared = sum_of(footprints, models)
    once = ''.join(
      f'; the frozen weights of {", ".join(names)} count once'
      for names in shared
    )
    lines.append(f'memory of all priors: about {shown(total)}{once}')
  return lines
