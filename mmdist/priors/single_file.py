"""A checkpoint in one file, laid out as a diffusers directory of small files.

Such a file has weights under the names of their authors and nothing else. The
directory, in the user's cache, has the configuration files that diffusers would
keep, tokenizers, and a note of where the weights are; these stay where they
lie. All else that reads a prior then reads a directory. What the file lacks is
taken from a directory of the same family, `base`, and figures of a network from
those that mmdist ships. Nothing is fetched.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import model_files
from mmdist.core import strict_json
from mmdist.core import user_cache
from mmdist.priors import checkpoint_looks
from mmdist.priors import declared
from mmdist.priors import flux_looks

ORIGIN = 'checkpoint.json'  # The note.
_FIGURES = pathlib.Path(__file__).resolve().parents[1] / 'assets/checkpoints'
_KIND = 'checkpoints'  # Folder of the cache.
# Stable Diffusion 3 does without its T5.
_OPTIONAL = 'text_encoder_3'
# Latents along an axis of the Stable Diffusion 2 that predicts the noise; of
# the one that predicts v there are more.
_SMALL_SD2 = 64
# Another layout of the same file is another directory.
_LAYOUT = 1
_SCHEDULER = 'scheduler/scheduler_config.json'
# Beside weights, and none: places of tokens, and what only training needs.
_NO_WEIGHTS = ('position_ids', 'logit_scale', '.loss.', 'model_ema.')
# What a file of a family does not say of its noise levels, unless it is marked.
_UNSAID = {
  'sd2': (
    'whether its network predicts the noise or v (prediction_type epsilon, as '
    'in stable-diffusion-2-base, or v_prediction, as in stable-diffusion-2)'
  ),
  'flux': 'how its noise levels are shifted, in which dev and schnell differ',
}
_BASE_REMEDY = (
  'give a diffusers directory of the same family by '
  '--config.priors.NAME.base=DIR'
)


@dataclasses.dataclass(frozen=True)
class Origin:
  """Where the weights of a directory are.

  Attributes:
    file: the checkpoint.
    prefixes: component -> the beginning of its tensors' names there.
    folders: of components that are not there -> their folder in `base`.
    family: as `checkpoint_looks.Look.family`.
  """

  file: pathlib.Path
  prefixes: Mapping[str, str]
  folders: Mapping[str, pathlib.Path]
  family: str

  def names_of(self, component: str, names: Iterable[str]) -> list[str]:
    """Returns which tensors of the checkpoint are a component's weights."""
    prefix = self.prefixes[component]
    # Where names of one component begin with nothing, all else is of others.
    others = tuple(p for p in self.prefixes.values() if p and not prefix)
    return [
      name
      for name in names
      if name.startswith(prefix)
      and not name.startswith(others)
      and not any(part in name for part in _NO_WEIGHTS)
    ]


def read_origin(directory: pathlib.Path) -> Origin | None:
  """Returns where a directory's weights are; None if they are in it."""
  path = directory / ORIGIN
  if not path.is_file():
    return None
  note = model_files.read_json(path, '')
  return Origin(
    pathlib.Path(note['file']),
    note['prefixes'],
    {name: pathlib.Path(path) for name, path in note['folders'].items()},
    note['family'],
  )


def names_of(
  directory: pathlib.Path, component: str, names: Iterable[str]
) -> list[str]:
  """Returns which tensors of a weight file are a component's."""
  origin = read_origin(directory)
  if origin is None or component not in origin.prefixes:
    return list(names)
  return origin.names_of(component, names)


def name_of(directory: pathlib.Path, path: pathlib.Path) -> str:
  """Returns what a record calls a weight file, wherever it lies."""
  if path.is_relative_to(directory):
    return path.relative_to(directory).as_posix()
  origin = read_origin(directory)
  is_checkpoint = origin is not None and path == origin.file
  # Of `base`: its component's folder is a part of the name.
  return path.name if is_checkpoint else f'{path.parent.name}/{path.name}'


def lay_out(file: pathlib.Path, base: pathlib.Path | None) -> pathlib.Path:
  """Returns the diffusers directory of a checkpoint, made if it is not there.

  Args:
    file: the checkpoint.
    base: a diffusers directory of the same family; None if none is given.

  Raises:
    UserError, FileNotFoundError: in one line; what the file is instead, or
      what is lacking.
  """
  if file.suffix.lower() in model_files.PICKLES:
    raise errors.UserError(
      f'{file} is pickled and could run code; convert it to .safetensors '
      '(safetensors.torch.save_file).'
    )
  model_files.check_is_itself(file)
  if file.suffix.lower() != '.safetensors':
    raise errors.UserError(
      f'{file} is a file; expected a diffusers directory, or a checkpoint in '
      'one .safetensors file.'
    )
  model_files.check_safetensors(file)
  header = model_files.read_header(file)
  look = checkpoint_looks.look(file, header)
  contents = _contents(file, base, look, header)
  tokenizers = {
    name: base / name
    for component, name in _tokenizers_of(look).items()
    if base and f'{component}/config.json' in contents
  }
  key = user_cache.key_of(
    _LAYOUT,
    str(file),
    file.stat().st_size,
    file.stat().st_mtime_ns,
    contents,
    [declared.key(folder) for folder in tokenizers.values()],
  )
  directory = _cache() / key
  if not (directory / ORIGIN).is_file():
    _write(directory, contents, tokenizers)
  return directory


Contents = dict[str, dict[str, Any]]


def _contents(
  file: pathlib.Path,
  base: pathlib.Path | None,
  look: checkpoint_looks.Look,
  header: checkpoint_looks.Header,
) -> Contents:
  """Returns path -> JSON object of all but tokenizers."""
  figures = json.loads((_FIGURES / f'{look.family}.json').read_text('utf-8'))
  scheduler = _scheduler(base, look, figures)
  _check_all_there(file, base, look, scheduler)
  if look.family == 'sd3':
    figures['transformer'] = checkpoint_looks.sd3_config(header)
  flux = flux_looks.shapes_of(header) if look.family == 'flux' else {}
  if look.family == 'sd2' and scheduler.get('prediction_type') == 'epsilon':
    figures['unet']['sample_size'] = _SMALL_SD2
  contents, folders = {}, {}
  for component in look.needed:
    path = f'{component}/config.json'
    given = base / path if base else None
    if component not in look.components:
      if given is None or not given.is_file():
        continue  # Stable Diffusion 3 does without its T5.
      folders[component] = str(given.parent)
    if given is not None and given.is_file():
      contents[path] = model_files.read_json(given, '')
      if flux and component == 'transformer':
        flux_looks.check_base(file, flux, given, contents[path])
    elif flux and component == 'transformer':
      contents[path] = flux_looks.config_of(file, flux)
    else:
      contents[path] = figures[component]
  contents[_SCHEDULER] = scheduler
  settings = base / 'mmdist.json' if base else None
  if settings is not None and settings.is_file():
    contents['mmdist.json'] = model_files.read_json(settings, '')
  index = base / 'model_index.json' if base else None
  empty_is_zero = True
  if index is not None and index.is_file():
    content = model_files.read_json(index, '')
    empty_is_zero = bool(content.get('force_zeros_for_empty_prompt', True))
  contents['model_index.json'] = {
    '_class_name': 'DiffusionPipeline',
    'force_zeros_for_empty_prompt': empty_is_zero,
  }
  contents[ORIGIN] = {
    'file': str(file),
    'prefixes': dict(look.components),
    'folders': folders,
    'family': look.family,
  }
  return contents


def _scheduler(
  base: pathlib.Path | None,
  look: checkpoint_looks.Look,
  figures: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns the noise levels: the base's or the family's, as the file says.

  Empty if nobody says them.
  """
  if base is not None and (base / _SCHEDULER).is_file():
    return {**model_files.read_json(base / _SCHEDULER, ''), **look.changes}
  settings = {**figures.get('scheduler', {}), **look.changes}
  if look.family == 'sd2' and look.predicts:  # Of the others it is known.
    settings.setdefault('prediction_type', look.predicts)
  is_unsaid = look.family in _UNSAID and 'prediction_type' not in settings
  return {} if is_unsaid else settings


def _check_all_there(
  file: pathlib.Path,
  base: pathlib.Path | None,
  look: checkpoint_looks.Look,
  scheduler: Mapping[str, Any],
) -> None:
  """Raises UserError if neither the file nor its base has a part.

  In one line, all that lacks.
  """
  components = [
    component
    for component in look.needed
    if component not in look.components
    and not _is_there(base, f'{component}/config.json')
    and component != _OPTIONAL
  ]
  tokenizers = [
    name
    for component, name in _tokenizers_of(look).items()
    # A text encoder that nobody has needs none.
    if (
      component in look.components
      or component != _OPTIONAL
      or _is_there(base, f'{component}/config.json')
    )
    and not (base and (base / name).is_dir())
  ]
  if not components and not tokenizers and scheduler:
    return
  words = [f'is a checkpoint of {checkpoint_looks.SPOKEN[look.family]}']
  if components:
    words[0] += f' without its {_join(components)}'
  if tokenizers:
    words.append('holds no tokenizer')
  if not scheduler:
    words.append(f'does not say {_UNSAID[look.family]}')
  if base:
    words.append(f'{base} has none of this')
  needed = [f'{name}/' for name in (*components, *tokenizers)]
  needed += [] if scheduler else [_SCHEDULER]
  raise errors.UserError(
    f'{file} {", and ".join(words)}; {_BASE_REMEDY}, which has {_join(needed)}.'
  )


def _is_there(base: pathlib.Path | None, path: str) -> bool:
  return base is not None and (base / path).is_file()


def _join(names: Sequence[str]) -> str:
  *first, last = names
  return f'{", ".join(first)} and {last}' if first else last


def _tokenizers_of(look: checkpoint_looks.Look) -> dict[str, str]:
  """Returns text encoder -> the folder of its tokenizer."""
  return {
    component: component.replace('text_encoder', 'tokenizer')
    for component in look.needed
    if component.startswith('text_encoder')
  }


def _cache() -> pathlib.Path:
  """Returns a folder that can be written to; the user's cache, if possible."""
  own = user_cache.directory()
  if own is not None:
    with contextlib.suppress(OSError):
      root = own / _KIND
      root.mkdir(parents=True, exist_ok=True)
      if os.access(root, os.W_OK):
        return root
  # Nobody else can have put anything into a folder that is new. Processes of
  # one run do not share it, so each writes the few small files again.
  return pathlib.Path(tempfile.mkdtemp(prefix='mmdist-checkpoints-'))


def _write(
  directory: pathlib.Path,
  contents: Contents,
  tokenizers: Mapping[str, pathlib.Path],
) -> None:
  """Writes a directory whole: it is renamed when all of it is there."""
  made = pathlib.Path(tempfile.mkdtemp(dir=directory.parent, prefix='.new'))
  for name, content in contents.items():
    path = made / name
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, strict_json.dumps(content, indent=2) + '\n')
  for name, folder in tokenizers.items():
    shutil.copytree(
      folder, made / name, ignore=shutil.ignore_patterns('*.py', '__pycache__')
    )
  try:
    made.rename(directory)
  except OSError:  # Another process has made it meanwhile.
    shutil.rmtree(made)
    if not (directory / ORIGIN).is_file():
      raise
