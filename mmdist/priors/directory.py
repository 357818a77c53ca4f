"""The files of a diffusers directory, and one line for each that is wrong.

Weights are read from safetensors only, since a pickled file can run code, and
code in a directory is never run. Settings that diffusers does not have are in
`mmdist.json`, beside `model_index.json`:

  image_codec: 'pixel_unshuffle' (with `factor`), 'identity' or 'vae'.
  image_size: pixels along an axis of the images the network was trained on.
  identifier_tokens: purpose -> word that no caption uses, for DreamBooth.
  prompt_length: tokens of a text, both ends included.
"""

from collections.abc import Mapping
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

from mmdist.core import errors
from mmdist.core import model_files
from mmdist.priors import checkpoint_looks
from mmdist.priors import single_file

if TYPE_CHECKING:  # Not at run time, because it may import torch.
  import transformers

# The name, without its ending, of each component's weights.
WEIGHTS = {
  'unet': 'diffusion_pytorch_model',
  'transformer': 'diffusion_pytorch_model',
  'vae': 'diffusion_pytorch_model',
  'text_encoder': 'model',
  'text_encoder_2': 'model',
  'text_encoder_3': 'model',
}
SETTINGS_FILE = 'mmdist.json'
# What hubs call files in half precision, the first choice first.
_VARIANTS = ('fp16', 'bf16', 'fp32')
_REMEDY = (
  'a prior is a diffusers directory (unet/ or transformer/, scheduler/, '
  'text_encoder/, tokenizer/, and vae/ if it is latent)'
)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  return model_files.read_json(path, _REMEDY)


def read_settings(directory: pathlib.Path) -> dict[str, Any]:
  """Reads `mmdist.json`; a directory without it has no settings."""
  path = directory / SETTINGS_FILE
  return read_json(path) if path.is_file() else {}


def prompt_length(settings: Mapping[str, Any], longest: int) -> int:
  """Returns the tokens of a text, at most the text encoder's `longest`."""
  return min(settings.get('prompt_length', longest), longest)


def check_is_pipeline(directory: pathlib.Path) -> None:
  """Raises unless a directory looks like a diffusers pipeline without code.

  Raises:
    FileNotFoundError: it has no scheduler or no network.
    UserError: it is of another library, one file of weights, or brings code.
  """
  if not directory.is_dir():
    raise FileNotFoundError(f'prior directory {directory} does not exist.')
  code = sorted(directory.rglob('*.py'))
  if code:
    raise errors.UserError(
      f'{code[0]} is code, which mmdist never runs; give a directory of '
      "diffusers' own classes."
    )
  has_network = (directory / 'unet').is_dir() or (
    directory / 'transformer'
  ).is_dir()
  if has_network and (directory / 'scheduler').is_dir():
    return
  single = [
    path
    for path in sorted(directory.iterdir())
    if path.suffix in ('.safetensors', *model_files.PICKLES)
  ]
  if (directory / 'config.json').is_file():
    config = read_json(directory / 'config.json')
    kind = config.get('_class_name') or config.get('model_type')
    kind = kind or 'one network'
    raise errors.UserError(
      f'{directory / "config.json"} declares {kind}, which is not a whole '
      'diffusers pipeline (unet/ or transformer/, scheduler/, text_encoder/, '
      'tokenizer/).'
    )
  if single:
    if single[0].suffix == '.safetensors':
      # A LoRA is named as one, and whatever else is none.
      model_files.check_safetensors(single[0])
      checkpoint_looks.look(single[0], model_files.read_header(single[0]))
    raise errors.UserError(
      f'{single[0]} is a checkpoint in one file; open it with '
      "diffusers' from_single_file and give what save_pretrained writes, or "
      "give that file itself, and its family's tokenizers by base=DIR."
    )
  missing = 'scheduler' if has_network else 'unet'
  raise FileNotFoundError(f'{directory / missing} is missing; {_REMEDY}.')


def weight_files(
  directory: pathlib.Path, component: str
) -> tuple[list[pathlib.Path], str | None]:
  """Returns a component's weight files, and their variant.

  The plain files, or where there are none those of a variant: 'fp16' or 'bf16',
  or the only one that there is. Files that an index names are returned whether
  or not they exist.

  Raises:
    FileNotFoundError: there are none.
    UserError: there are pickled or quantised ones only, or variants of which
      none is the first choice.
  """
  origin = single_file.read_origin(directory)
  if origin and component in origin.prefixes:
    return [origin.file], None
  folder = _folder_of(directory, component)
  stem = WEIGHTS[component]
  others = _other_variants(folder, stem)
  for variant in (None, *_VARIANTS, *others):
    infix = f'.{variant}' if variant else ''
    path = folder / f'{stem}{infix}.safetensors'
    indices = (
      folder / f'{stem}.safetensors.index{infix}.json',
      folder / f'{path.name}.index.json',
    )
    found = [index for index in indices if index.is_file()]
    if not found and not path.is_file():
      continue
    if variant in others and len(others) > 1:
      raise errors.UserError(
        f'{folder} has weights of the variants {", ".join(others)} and no '
        f'{stem}.safetensors; rename the one that is meant, or leave one.'
      )
    if not found:
      return [path], variant
    shards = set(read_json(found[0]).get('weight_map', {}).values())
    return [folder / shard for shard in sorted(shards)], variant
  raise _missing(folder / f'{stem}.safetensors')


def _folder_of(directory: pathlib.Path, component: str) -> pathlib.Path:
  """Returns where a component's weights lie.

  Those that a checkpoint in one file lacks are in another directory.
  """
  origin = single_file.read_origin(directory)
  return (origin.folders if origin else {}).get(
    component, directory / component
  )


def _other_variants(folder: pathlib.Path, stem: str) -> list[str]:
  """Returns the variants in a folder that have no place in `_VARIANTS`."""
  # STEM.VARIANT.safetensors, or of shards STEM.safetensors.index.VARIANT.json
  # and STEM.VARIANT.safetensors.index.json.
  pattern = re.compile(
    rf'{re.escape(stem)}(?:\.([\w-]+?)\.safetensors(?:\.index\.json)?'
    rf'|\.safetensors\.index\.([\w-]+)\.json)'
  )
  names = folder.iterdir() if folder.is_dir() else ()
  matches = [pattern.fullmatch(path.name) for path in names]
  found = {match[1] or match[2] for match in matches if match}
  return sorted(
    variant
    for variant in found
    # A variant of shards, and not a shard of the plain ones.
    if variant not in _VARIANTS and not re.search(r'-of-\d+$', variant)
  )


def check_weights(directory: pathlib.Path, component: str) -> None:
  """Raises unless every weights file of a component is whole safetensors."""
  config = read_json(directory / component / 'config.json')
  quantisation = config.get('quantization_config')
  if quantisation:
    kind = 'an unknown kind'
    if isinstance(quantisation, dict):
      kind = quantisation.get('quant_method', kind)
    raise errors.UserError(
      f'{directory / component / "config.json"} declares quantised weights '
      f'({kind}); expected those in float16, bfloat16 or float32.'
    )
  for path in weight_files(directory, component)[0]:
    if not path.is_file():
      raise _missing(path)
    model_files.check_safetensors(path)


def _missing(path: pathlib.Path) -> Exception:
  pickled = model_files.find_pickles(path.parent)
  if pickled:
    return errors.UserError(
      f'{pickled[0]} is pickled and could run code; convert it to {path.name} '
      '(save_pretrained with safe_serialization=True).'
    )
  for quantised in sorted(path.parent.glob('*.gguf')):
    return errors.UserError(
      f'{quantised} is a quantised model (GGUF); expected {path.name}.'
    )
  return FileNotFoundError(f'{path} is missing.')


def load_component(
  cls: Any, directory: pathlib.Path, component: str, **kwargs: Any
) -> Any:
  """Opens one network of a diffusers directory, frozen and in eval mode.

  Args:
    cls: its diffusers or transformers class, which have no base in common.
    directory: the diffusers directory.
    component: a key of `WEIGHTS`.
    **kwargs: the dtype, by the name that `cls` has for it.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  check_weights(directory, component)
  origin = single_file.read_origin(directory)
  if origin and component in origin.prefixes:
    # Here, because it imports torch.
    from mmdist.priors import checkpoint_weights

    config = read_json(directory / component / 'config.json')
    (dtype,) = kwargs.values()
    return checkpoint_weights.load(cls, config, component, origin, dtype)
  _, variant = weight_files(directory, component)
  try:
    module, info = cls.from_pretrained(
      str(_folder_of(directory, component)),
      use_safetensors=True,
      variant=variant,
      local_files_only=True,
      output_loading_info=True,
      **kwargs,
    )
  except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
    raise errors.UserError(
      f'{directory / component} does not fit {cls.__name__}: '
      f'{model_files.first_line(error)}'
    ) from error
  if info['missing_keys']:
    raise errors.UserError(
      f'{directory / component} lacks {len(info["missing_keys"])} weights, '
      f'{min(info["missing_keys"])} among them; is config.json of another '
      'model?'
    )
  return module.requires_grad_(False).eval()


def load_tokenizer(
  directory: str | os.PathLike, component: str = 'tokenizer'
) -> 'transformers.PreTrainedTokenizerBase':
  """Opens a tokenizer of a diffusers directory; reads nothing else."""
  folder = pathlib.Path(directory) / component
  if not folder.is_dir():
    raise FileNotFoundError(f'{folder} is missing.')
  for path in sorted(folder.iterdir()):
    if path.is_file():
      model_files.check_is_itself(path)
  # Here, because it may import torch.
  import transformers

  try:
    return transformers.AutoTokenizer.from_pretrained(
      str(folder), local_files_only=True, trust_remote_code=False
    )
  # tokenizers raises bare Exception for a tokenizer.json it cannot parse.
  except Exception as error:
    raise errors.UserError(
      f'{folder} cannot be opened: {model_files.first_line(error)}'
    ) from error
