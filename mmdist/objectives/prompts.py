"""From the sentence a person types to the sentence a prior reads.

Owns templates, prefixes and view words; which tokens a prior knows is the
prior's affair.
"""

import re

MAX_PROMPT_LENGTH = 1000
PLACEHOLDERS = ('{prompt}', '{target}')
# "a portrait of a happy man" is about "a happy man" (MagicMirror, 3.3).
_OPENING = re.compile(
  r'^an?\s+(?:\[\w+\]\s+|dslr\s+)?(?:portrait|photo)\s+of\s+', re.IGNORECASE
)


def check_prompt(text: str) -> str:
  """Returns `text` with single spaces; ValueError if no prior could read it."""
  cleaned = ' '.join(text.split())
  if not cleaned:
    raise ValueError(
      "the prompt is empty; expected a sentence such as 'a portrait of a "
      "happy man'."
    )
  if len(cleaned) > MAX_PROMPT_LENGTH:
    raise ValueError(
      f'the prompt has {len(cleaned)} characters; expected at most '
      f'{MAX_PROMPT_LENGTH}. It opens with {cleaned[:40]!r}.'
    )
  return cleaned


def check_template(prior: str, template: str) -> None:
  """Raises ValueError unless the template of `prior` holds a placeholder."""
  if not any(word in template for word in PLACEHOLDERS):
    raise ValueError(
      f"prior '{prior}' has prompt template '{template}', which says nothing "
      f'of the concept; expected {" or ".join(PLACEHOLDERS)} in it.'
    )


def target_of(text: str) -> str:
  """Returns whom a prompt is about: the text after "a portrait of "."""
  return _OPENING.sub('', text) or text


def fill_template(template: str, text: str) -> str:
  """Returns the text as a prior wants it put.

  Args:
    template: '{prompt}' stands for the whole text, '{target}' for the text
      after "a portrait of " (the whole text if it does not open like that).
    text: what a person typed; braces in it are left alone.
  """
  values = {'{prompt}': text, '{target}': target_of(text)}
  # In one pass, so that a text that holds '{target}' is not filled again.
  return re.sub(
    '|'.join(map(re.escape, PLACEHOLDERS)), lambda m: values[m[0]], template
  )


def add_prefix(prefix: str, prompt: str) -> str:
  """Returns e.g. 'A DSLR photo of a portrait ...' (MagicMirror, A.3)."""
  return f'{prefix} {prompt}' if prefix else prompt


def add_view_word(prompt: str, word: str) -> str:
  """Returns the prompt of one view (docs/method.md, section 4).

  The space before the comma is how the embedded priors' captions are written;
  CLIP's tokenizer reads both spellings alike.
  """
  return f'{prompt} , {word} view' if word else prompt
