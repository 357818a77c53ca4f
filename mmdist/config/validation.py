"""What the values of a run's configuration may be; the door of every run.

Every error is one line: the field by its path, its value, what was expected.
Texts are checked by `mmdist.objectives`, directories by `mmdist.priors`.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math
import os
import re
from typing import Any

from mmdist.config import fields
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import composition
from mmdist.core import errors
from mmdist.core import guidance_kinds
from mmdist.core import local_paths
from mmdist.core import messages
from mmdist.core import names

# Patterns of paths; priors and concepts have names and numbers of their own.
CHOICES = {
  r'mode': composition.MODES,
  r'noise\.schedule': schema.NOISE_SCHEDULES,
  r'learner\.trainable': schema.TRAINABLE,
  r'learner\.compute': schema.COMPUTE,
  r'priors\.\w+\.channel': messages.CHANNELS,
  r'priors\.\w+\.objective': guidance_kinds.OBJECTIVES,
  r'priors\.\w+\.noising': guidance_kinds.NOISINGS,
  r'priors\.\w+\.weighting': messages.WEIGHTINGS,
  r'priors\.\w+\.proxy_noise': messages.PROXY_NOISES,
  r'priors\.\w+\.proxy_per': messages.PROXY_SCOPES,
  r'priors\.\w+\.colocate': schema.COLOCATE,
  r'faults\.on_nonfinite': schema.ON_NONFINITE,
  r'priors\.\w+\.dtype': messages.DTYPES,
  r'priors\.\w+\.memory\.text_dtype': messages.TEXT_DTYPES,
}
# Files and folders, or names that stand for some. They are kept as they were
# written; whoever opens one expands `~`.
PATHS = (
  r'nerf_assets',
  r'priors\.\w+\.(directory|lora|base)',
  r'results\.judge',
)
# The smallest and largest values, both allowed.
RANGES = {
  r'num_steps': (1, math.inf),
  r'seed': (0, 2**63 - 1),
  r'nerf\.(proposal|nerf)_(depth|width)': (1, math.inf),
  r'nerf\.code_size': (1, math.inf),
  r'nerf\.icosahedron_subdivisions': (1, 2),
  r'nerf\.num_\w+': (1, math.inf),
  r'nerf\.position_levels': (1, math.inf),
  r'nerf\.viewdir_levels': (0, math.inf),
  r'nerf\.density_scale': (1e-6, math.inf),
  r'views\.(num_views|resolution|micro_batches)': (1, math.inf),
  r'views\.emphasis\.[\w-]+': (0, math.inf),
  r'priors\.\w+\.rank': (1, math.inf),
  r'priors\.\w+\.(proxy_)?guidance_scale': (0, math.inf),
  r'priors\.\w+\.negative_share': (0, math.inf),
  r'priors\.\w+\.prompt_chunks': (1, 16),
  r'priors\.\w+\.first_stage': (0, 1),
  r'priors\.\w+\.num_[cg]pus': (0, math.inf),
  r'priors\.\w+\.resources\..*': (0, math.inf),
  r'noise\.\w+': (0, 1),
  r'learner\.learning_rate': (1e-12, math.inf),
  r'learner\.final_learning_rate_ratio': (1e-6, math.inf),
  r'learner\.adam_b\d': (0, 1 - 1e-9),
  r'learner\.\w+_(weight|ratio)': (0, math.inf),
  r'learner\.chunk_size': (1, math.inf),
  r'learner\.num_kept_chunks': (0, math.inf),
  r'learner\.empty_opacity': (0, 0.1),
  r'learner\.num_devices': (0, math.inf),
  r'learner\.num_(hosts|shards)': (1, math.inf),
  r'checkpoints\.every': (0, math.inf),
  r'checkpoints\.keep': (1, math.inf),
  r'checkpoints\.keep_every': (0, math.inf),
  r'checkpoints\.snapshot_every': (1, 64),
  r'faults\.max_\w+': (0, math.inf),
  r'faults\.(deadline|deadline_floor|build_deadline|window)_s': (1, math.inf),
  r'faults\.deadline_factor': (1, math.inf),
  r'results\.preview_every': (0, math.inf),
  r'results\.(turntable_views|resolution)': (1, math.inf),
  r'results\.mesh_resolution': (8, math.inf),
}
# The largest size of a value, of either sign, where a larger one would end in a
# traceback, fill any machine, or never end. These are far above what is useful.
_COUNT = 10**9  # A step of 1 ms is taken so often in 12 days.
_FACTOR = 10**6  # Products of weights stay finite.
LIMITS = {
  r'num_steps': _COUNT,
  r'concepts\[\d+\]\.weight': _FACTOR,
  r'nerf\.(proposal|nerf)_depth': 256,
  r'nerf\.(proposal|nerf)_width': 2**14,
  r'nerf\.code_size': 2**14,
  r'nerf\.num_(proposal|nerf)_samples': 2**12,
  r'nerf\.num_proposal_passes': 64,
  r'nerf\.(position|viewdir)_levels': 32,  # Octaves that float32 can tell.
  r'views\.(num_views|micro_batches)': 2**10,
  r'views\.resolution': 2**13,
  r'views\.emphasis\.[\w-]+': _FACTOR,
  r'priors\.\w+\.rank': 2**12,
  r'priors\.\w+\.(weight|lora_scale)': _FACTOR,
  r'priors\.\w+\.(negative_share|inversion_guidance_scale)': _FACTOR,
  r'priors\.\w+\.num_[cg]pus': 10**4,
  r'priors\.\w+\.resources\..*': 10**12,  # May be bytes.
  r'learner\.(chunk_size|num_kept_chunks)': 2**20,
  r'learner\.num_(devices|hosts|shards)': 10**4,
  r'checkpoints\.(every|keep|keep_every)': _COUNT,
  r'faults\.max_\w+': _COUNT,
  r'faults\.(deadline|deadline_floor|build_deadline|window)_s': _COUNT,
  r'faults\.deadline_factor': _FACTOR,
  r'results\.preview_every': _COUNT,
  r'results\.turntable_views': 3600,
  r'results\.resolution': 2**13,
  r'results\.mesh_resolution': 2**11,
}


def validate(config: schema.RunConfig) -> None:
  """Raises UserError, in one line, at the first value that cannot be run."""
  for path, value in serialization.flatten(config).items():
    _check_size(config, path, value)
    _check_leaf(path, value)
  for name, prior in config.priors.items():
    _check_prior_name(name)
    _check_noising(name, prior)
    _check_loras(f'priors.{name}.loras', prior)
  _check_hosts(config)
  _check_concept_names([c.name for c in config.concepts if c.name])
  _check_order('noise.minimum', config.noise.minimum, config.noise.maximum)
  _check_order(
    'noise.minimum', config.noise.minimum, config.noise.final_maximum
  )
  _check_micro_batches(config.views)
  check_kept_chunks(
    config, max(config.learner.num_devices, 1) * config.learner.num_hosts
  )
  _check_background(config.views.background)
  _check_start_code(config.learner.start_code)
  check_texture_size('results.texture_size', config.results.texture_size)


def _check_size(config: schema.RunConfig, path: str, value: Any) -> None:
  if not isinstance(value, int | float):
    return
  called, limit = fields.called(config, path), _limit_of(path)
  if isinstance(value, float) and not math.isfinite(value):
    raise errors.UserError(f'{called} is {value}; expected a finite number.')
  if limit is not None and abs(value) > limit:
    shown = f'{value}' if abs(value) < 10**20 else 'a number of many digits'
    end = f'at most {limit}' if value > 0 else f'at least {-limit}'
    raise errors.UserError(f'{called} is {shown}; expected {end}.')


def _check_leaf(path: str, value: Any) -> None:
  if isinstance(value, str):
    names.check_text(path, value)
  all_choices, ranges, holds_path = _rules_of(path)
  for choices in all_choices:
    names.check_choice(path, value, choices)
  for low, high in ranges:
    if isinstance(value, int | float):
      _check_range(path, value, low, high)
  if holds_path:
    local_paths.check(value, path)


def is_path(path: str) -> bool:
  """Returns whether a field, by its path, names files or a folder."""
  return any(re.fullmatch(pattern, path) for pattern in PATHS)


# A sweep checks a thousand configurations of the same fields.
@functools.lru_cache(maxsize=4096)
def _rules_of(path: str) -> tuple[list[Sequence[str]], list[tuple], bool]:
  """Returns a field's choices and ranges, and whether it is a path of files."""
  return (
    [
      kinds for pattern, kinds in CHOICES.items() if re.fullmatch(pattern, path)
    ],
    [ends for pattern, ends in RANGES.items() if re.fullmatch(pattern, path)],
    is_path(path),
  )


@functools.lru_cache(maxsize=4096)
def _limit_of(path: str) -> int | None:
  """Returns the largest size that a field may have; None: any."""
  for pattern, limit in LIMITS.items():
    if re.fullmatch(pattern, path):
      return limit
  return None


def _check_range(path: str, value: float, low: float, high: float) -> None:
  if low <= value <= high:
    return
  if high == math.inf:
    raise errors.UserError(f'{path} is {value}; expected at least {low}.')
  raise errors.UserError(f'{path} is {value}; expected {low} to {high}.')


def _check_prior_name(name: str) -> None:
  # The command line addresses priors as --config.priors.NAME.weight.
  # Checkpoints and metrics are named after it: no path, and no other script.
  if not re.fullmatch(r'[A-Za-z]\w{0,63}', name, re.ASCII) or hasattr(
    dict, name
  ):
    raise errors.UserError(
      f"a prior is called '{name}'; expected up to 64 of A-Z, a-z, 0-9 and _, "
      'a letter first, and none of '
      f'{", ".join(n for n in dir(dict) if n[0] != "_")}.'
    )


def _check_noising(name: str, prior: schema.PriorConfig) -> None:
  kind = guidance_kinds.KINDS[prior.objective]
  if prior.noising in ('', kind.noising) or kind.may_choose_noising:
    return
  raise errors.UserError(
    f'priors.{name}.noising is {prior.noising}; expected {kind.noising}, of '
    f'which {prior.objective} is made.'
  )


def _check_hosts(config: schema.RunConfig) -> None:
  kinds = [
    prior.objective
    for prior in config.priors.values()
    if prior.enabled and guidance_kinds.KINDS[prior.objective].needs_start
  ]
  if config.learner.num_hosts > 1 and kinds:
    raise errors.UserError(
      f'learner.num_hosts is {config.learner.num_hosts}; expected 1 with '
      f'{kinds[0]}, '
      'since the hosts do not render what the run started from.'
    )


def _check_loras(path: str, prior: schema.PriorConfig) -> None:
  limit = _FACTOR
  seen: set[str] = set()
  for file, weight in prior.all_loras:
    expanded = os.path.realpath(local_paths.expand(file, path))
    if abs(weight) > limit:
      raise errors.UserError(
        f"{path} has the weight {weight:g} for '{file}'; expected at most "
        f'{limit} of either sign.'
      )
    if expanded in seen:
      raise errors.UserError(
        f"{path} has '{file}' twice; give it once, with the sum of both "
        'weights.'
      )
    seen.add(expanded)


def _check_concept_names(concept_names: Sequence[str]) -> None:
  # A grid writes NAME=WEIGHT,... beside FIELD=VALUE,...
  fields = {field.name for field in dataclasses.fields(schema.RunConfig)}
  for name in concept_names:
    if (
      not re.fullmatch(r'[A-Za-z][\w-]{0,63}', name, re.ASCII) or name in fields
    ):
      raise errors.UserError(
        f"a concept is called '{name}'; expected up to 64 of A-Z, a-z, 0-9, _ "
        f'and -, a letter first, and none of {", ".join(sorted(fields))}.'
      )
    if concept_names.count(name) > 1:
      raise errors.UserError(
        f"two concepts are called '{name}'; expected a name of its own for "
        'each, or none.'
      )


def _check_order(path: str, low: float, high: float) -> None:
  if low >= high:
    raise errors.UserError(
      f'{path} is {low}; expected less than the maximum {high}.'
    )


def _check_micro_batches(views: schema.ViewsConfig) -> None:
  if views.micro_batches > views.num_views:
    raise errors.UserError(
      f'views.micro_batches is {views.micro_batches}; expected 1 to '
      f'views.num_views, which is {views.num_views}, since each part of a step '
      'has a view.'
    )


def check_kept_chunks(config: schema.RunConfig, num_devices: int) -> None:
  """Checks `learner.num_kept_chunks` against the chunks that there are.

  Args:
    config: of which `learner` and `views` are read.
    num_devices: over which chunks are dealt out, or fewer of them.

  Raises:
    UserError: a device has fewer chunks than are to be kept; says how many.
  """
  learner, views = config.learner, config.views
  if not learner.num_kept_chunks:
    return
  if not learner.remat:
    raise errors.UserError(
      f'learner.num_kept_chunks is {learner.num_kept_chunks}; expected 0 where '
      'learner.remat is False, which keeps all of them.'
    )
  num_views = math.ceil(views.num_views / views.micro_batches)
  num_rays = num_views * views.resolution**2
  most = math.ceil(num_rays / (learner.chunk_size * num_devices))
  if learner.num_kept_chunks > most:
    raise errors.UserError(
      f'learner.num_kept_chunks is {learner.num_kept_chunks}; expected at most '
      f'{most}: each device has as many chunks of {learner.chunk_size} rays in '
      'a part of a step.'
    )


def _check_background(background: Sequence[float]) -> None:
  if len(background) != 2 or not 0 <= background[0] <= background[1] <= 1:
    raise errors.UserError(
      f'views.background is {background}; expected two greys in [0, 1], the '
      'darker first.'
    )


def _check_start_code(code: str) -> None:
  if code not in ('mean', 'random') and not re.fullmatch(r'\d+', code):
    raise errors.UserError(
      f"learner.start_code is '{code}'; expected 'mean', 'random' or the "
      'number of a training subject.'
    )


def check_texture_size(called: str, size: int) -> None:
  """Raises UserError unless a mesh can have a texture of so many texels a side.

  Args:
    called: the setting, for the error.
    size: 0 is a mesh with colours at its vertices.
  """
  low, high = schema.TEXTURE_SIZES
  if size and not low <= size <= high:
    raise errors.UserError(
      f'{called} is {size}; expected {low} to {high} texels a side, or 0 for '
      'colours at the vertices.'
    )
