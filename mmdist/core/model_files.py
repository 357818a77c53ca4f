"""Files of a model that somebody has, and one line for each that is wrong.

Weights are safetensors: a pickled file can run code when it is read.
"""

import json
import math
import pathlib
import re
from typing import Any

import safetensors

from mmdist.core import errors
from mmdist.core import strict_json

PICKLES = ('.bin', '.ckpt', '.pt', '.pth', '.pkl')
# How files begin that lie where a model is expected, and what is to be done.
_STRANGERS = (
  (
    b'version https://git-lfs',
    'is a pointer of Git LFS, not the file itself; fetch that with '
    "'git lfs pull' in its folder",
  ),
  (b'<', 'is a web page, not the file itself; download that again'),
  (
    b'GGUF',
    'is a quantised model (GGUF); expected safetensors in float16, bfloat16 or '
    'float32',
  ),
  (b'PK\x03\x04', 'is pickled and could run code; convert it to safetensors'),
  (b'\x80', 'is pickled and could run code; convert it to safetensors'),
)
# Names that quantisers give to what belongs to a weight.
_QUANTISERS = {
  'bitsandbytes': ('.absmax', '.quant_map', '.SCB', 'bitsandbytes__'),
  'GPTQ or AWQ': ('.qweight', '.qzeros'),
  'scaled fp8': ('.scale_weight', '.weight_scale', 'scaled_fp8'),
}
# Types of numbers in which no network computes here.
_QUANTISED = re.compile(r'F8_.*|F4.*|F6_.*|I4|I8|U8')
_MOST_HEADER = 2**28  # Bytes; the largest models have a few MiB.


def read_json(path: pathlib.Path, remedy: str) -> dict[str, Any]:
  """Reads a JSON object.

  Args:
    path: the file.
    remedy: what a directory that lacks it should have been.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  if not path.is_file():
    raise FileNotFoundError(f'{path} is missing; {remedy}.')
  check_is_itself(path)
  try:
    content = strict_json.read(path)
  except ValueError as error:
    raise errors.UserError(f'{path} is corrupt: it {error}.') from error
  if not isinstance(content, dict):
    raise errors.UserError(f'{path} is corrupt: it holds no JSON object.')
  return content


def check_is_itself(path: pathlib.Path) -> None:
  """Raises UserError if something else lies where a file of a model should.

  A clone without Git LFS leaves pointers, a download that failed leaves a web
  page, and people rename files.
  """
  try:
    with path.open('rb') as file:
      begin = file.read(64)
  except OSError:  # Said where it is read.
    return
  # Safetensors: a length, which may look like any mark, and then an object.
  if begin[8:9] == b'{':
    return
  begin = begin.lstrip()
  for mark, what in _STRANGERS:
    if begin.startswith(mark):
      raise errors.UserError(f'{path} {what}.')


def check_safetensors(path: pathlib.Path) -> None:
  """Raises UserError unless a file is whole safetensors, and not quantised."""
  check_is_itself(path)
  try:
    with safetensors.safe_open(path, 'numpy'):
      pass
  except (safetensors.SafetensorError, OSError) as error:
    raise errors.UserError(
      f'{path} is corrupt ({first_line(error)}); copy it again.'
    ) from error
  _check_not_quantised(path, read_header(path))


def read_header(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Returns what a whole safetensors file says of its tensors, by their names.

  Args:
    path: of a file that `check_safetensors` found nothing wrong with.

  Returns:
    Name -> 'dtype', as safetensors calls it, and 'shape'. Beside them,
    '__metadata__' -> texts, where there are some.
  """
  with path.open('rb') as file:
    size = int.from_bytes(file.read(8), 'little')
    content = json.loads(file.read(min(size, _MOST_HEADER)))
  return content


def _check_not_quantised(
  path: pathlib.Path, header: dict[str, dict[str, Any]]
) -> None:
  for name, tensor in header.items():
    if name == '__metadata__':
      continue
    found = [
      who for who, parts in _QUANTISERS.items() if any(p in name for p in parts)
    ]
    dtype = str(tensor['dtype'])
    # A number alone is no weight: some programs count in small integers.
    is_one = math.prod(tensor['shape']) == 1
    if not found and not is_one and _QUANTISED.fullmatch(dtype):
      found = ['fp8' if dtype.startswith('F8') else dtype]
    if found:
      raise errors.UserError(
        f'{path} has quantised weights ({found[0]}), {name} among them; '
        'expected float16, bfloat16 or float32.'
      )


def find_pickles(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the pickled files of a folder, sorted; none if it is not there."""
  found = folder.iterdir() if folder.is_dir() else ()
  return sorted(path for path in found if path.suffix in PICKLES)


def first_line(error: Exception) -> str:
  """Returns the first line of an error, at most 200 characters."""
  line = (str(error).strip() or type(error).__name__).splitlines()[0]
  return line if len(line) <= 200 else f'{line[:197]}...'
