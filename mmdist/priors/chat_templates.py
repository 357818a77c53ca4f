"""What a prompt is wrapped into where its text encoder is a language model.

Such an encoder is not told the prompt alone: an instruction comes before it, or
the marks of a chat are around it. What they are is asked of diffusers' pipeline
of the family, or of the tokenizer, and is written down nowhere here. Imports no
torch, so that texts can be checked without it; `chat_readers.py` encodes them.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
from typing import Any

from mmdist.core import errors
from mmdist.core import model_files

SANA = 'SanaTransformer2DModel'
Z_IMAGE = 'ZImageTransformer2DModel'
QWEN_IMAGE = 'QwenImageTransformer2DModel'


@dataclasses.dataclass(frozen=True)
class Template:
  """What is around a prompt, and which tokens the network is given of both.

  Attributes:
    before: what is in front of the prompt.
    behind: what is behind it.
    skip: tokens at the front that the network is not given.
    keeps_first: whether it is given the first of them all the same.
    lowercase: prompts are lowered and stripped first.
    bare_empty: the empty prompt has nothing around it, and nothing is skipped.
  """

  before: str = ''
  behind: str = ''
  skip: int = 0
  keeps_first: bool = False
  lowercase: bool = False
  bare_empty: bool = False

  def of(self, text: str) -> 'Template':
    """Returns the template of one prompt: of an empty one it may be another."""
    if self.bare_empty and not text.strip():
      return Template(skip=int(self.keeps_first), keeps_first=self.keeps_first)
    return self

  def prepare(self, text: str) -> str:
    """Returns a prompt as it is wrapped: lowered and stripped, or as it is."""
    return text.lower().strip() if self.lowercase else text

  def wrap(self, text: str) -> str:
    """Returns what the tokenizer is given of a prompt."""
    return f'{self.before}{self.prepare(text)}{self.behind}'

  def most_tokens(self, length: int) -> int:
    """Returns how many tokens the encoder reads, all that is around included.

    Args:
      length: tokens that the network is given.
    """
    return self.skip + length - int(self.keeps_first)


def template_of(
  network: str, tokenizer: Any, source: object
) -> Template | None:
  """Returns the template of a family's prompts; None if it has none.

  Args:
    network: class of the network that declares the family.
    tokenizer: of its text encoder.
    source: what an error names the tokenizer.

  Raises:
    UserError: the tokenizer has no template, or one that changes prompts.
  """
  make = _MAKERS.get(network)
  return make(tokenizer, source) if make else None


def _of_sana(tokenizer: Any, source: object) -> Template:
  """An instruction before each prompt, but not before the empty one.

  Of both together the network sees the first token and the last ones.
  """
  if len(tokenizer('')['input_ids']) != 1:
    raise errors.UserError(
      f'{source} begins no text with a token of its own, which is all that '
      'Sana reads of an empty text; expected a tokenizer that adds one '
      '(add_bos_token).'
    )
  # Here, because it imports torch.
  import diffusers

  parameters = inspect.signature(diffusers.SanaPipeline.__call__).parameters
  before = '\n'.join(parameters['complex_human_instruction'].default)
  return Template(
    before=before,
    skip=len(tokenizer.encode(before)) - 1,
    keeps_first=True,
    lowercase=True,
    bare_empty=True,
  )


def _of_z_image(tokenizer: Any, source: object) -> Template:
  """The marks of a chat, in which the prompt is all that the user says.

  They are read once, so that no prompt is ever part of what is rendered.
  """

  def render(prompt: str) -> str:
    return tokenizer.apply_chat_template(
      [{'role': 'user', 'content': prompt}],
      tokenize=False,
      add_generation_prompt=True,
      enable_thinking=True,
    )

  try:
    before, _, behind = render(_MARK).partition(_MARK)
    rendered = [(probe, render(probe)) for probe in _PROBES]
  # A template is a program of its own, and may fail with anything.
  except Exception as error:
    raise errors.UserError(
      f'{source} has no chat template that can be read: '
      f'{model_files.first_line(error)}'
    ) from error
  if any(said != f'{before}{probe}{behind}' for probe, said in rendered):
    raise errors.UserError(
      f'{source} has a chat template that changes what a user says; expected '
      'one with text around it.'
    )
  return Template(before, behind)


def _of_qwen_image(tokenizer: Any, source: object) -> Template:
  """A chat that begins with an instruction, whose tokens are skipped."""
  del tokenizer, source
  # Here, because it imports torch.
  import diffusers

  parts = ('scheduler', 'vae', 'text_encoder', 'tokenizer', 'transformer')
  # Without parts: it has its template all the same.
  pipeline: Any = diffusers.QwenImagePipeline(**dict.fromkeys(parts))
  before, _, behind = pipeline.prompt_template_encode.partition('{}')
  return Template(
    before, behind, skip=pipeline.prompt_template_encode_start_idx
  )


# What stands for a prompt, and prompts that have to come back as they are.
_MARK = 'PROMPT-8d1f'
_PROBES = ('', ' two\nlines ')
_MAKERS: Mapping[str, Callable[[Any, object], Template]] = {
  SANA: _of_sana,
  Z_IMAGE: _of_z_image,
  QWEN_IMAGE: _of_qwen_image,
}


def cut_off(
  tokenizer: Any, template: Template, text: str, length: int
) -> tuple[int, int, str] | None:
  """Returns what of a prompt is not read; None if all of it is.

  Args:
    tokenizer: a fast tokenizer of transformers.
    template: around the prompt.
    text: the prompt, without marks of emphasis.
    length: tokens that the network is given.

  Returns:
    The prompt's tokens, how many fit, and the text that is cut off.
  """
  template = template.of(text)
  most = template.most_tokens(length)
  tokens = tokenizer(
    template.wrap(text),
    truncation=False,
    padding=False,
    return_offsets_mapping=True,
    verbose=False,
  )
  count = len(tokens['input_ids'])
  if count <= most:
    return None
  prompt = template.prepare(text)
  first, last = len(template.before), len(template.before) + len(prompt)
  places = tokens['offset_mapping']
  # One that spans both, as a space before a word may, is of the prompt.
  around = sum(end <= first or start >= last for start, end in places)
  rest = prompt[max(places[most][0] - first, 0) :].strip()
  return count - around, most - around, rest


def check_plain(shown: str, is_plain: bool) -> None:
  """Raises UserError if a prompt has weights.

  A language model reads what is before a word into it, so an embedding is of no
  word alone, and there is none of an empty text at the same place.

  Args:
    shown: the prompt, as an error names it.
    is_plain: whether it has none.
  """
  if not is_plain:
    raise errors.UserError(
      f'prompt {shown} has marks of emphasis, and the text encoder is a '
      'language model, whose embeddings cannot be weighted by words; expected '
      'a prompt without them, or \\( for a bracket that is meant.'
    )
