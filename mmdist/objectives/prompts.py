"""From the sentence a person types to the sentence a prior reads.

Owns templates, prefixes and view words. Which words a prior knows is checked by
the prior (`mmdist/priors/prompt_encoder.py`).
"""

import re

from mmdist.core import errors

MAX_PROMPT_LENGTH = 1000
PLACEHOLDERS = ('{prompt}', '{target}')
# "a portrait of a happy man" is about "a happy man" (MagicMirror, 3.3). What
# says how a picture was taken is no part of that; a painting or a sculpture is
# left in, since it changes what the avatar should look like.
_PICTURES = (
  r'portraits?|photos?|photographs?|pictures?|images?|snapshots?|shots?'
  r'|head[- ]?shots?|close[- ]?ups?|selfies?|render(?:ing|ed)?s?'
)
_QUALITIES = r'dslr|3-?d|hd|uhd|[48]k|raw|studio|colou?r|\[\w+\]'
_OPENING = re.compile(
  r'(?:(?:an?|the)\s+)?'
  rf'(?:(?:{_PICTURES}|{_QUALITIES})\s+)*'
  rf'(?:{_PICTURES})\s+of\s+',
  re.IGNORECASE,
)
# Identifier tokens, with the article before them.
_TOKENS = re.compile(r'(?:\b(an?)\s+)?(?:\[\w+\]\s*)+', re.IGNORECASE)


def check_prompt(text: str) -> str:
  """Returns `text` with single spaces; UserError if no prior could read it."""
  cleaned = ' '.join(text.split())
  if not cleaned:
    raise errors.UserError(
      "the prompt is empty; expected a sentence such as 'a portrait of a "
      "happy man'."
    )
  if len(cleaned) > MAX_PROMPT_LENGTH:
    raise errors.UserError(
      f'the prompt has {len(cleaned)} characters; expected at most '
      f'{MAX_PROMPT_LENGTH}. It opens with {cleaned[:40]!r}.'
    )
  return cleaned


def check_negative(text: str) -> str:
  """Returns a negative prompt with single spaces; it may be empty."""
  return check_prompt(text) if text.strip() else ''


def check_template(prior: str, template: str) -> None:
  """Raises UserError unless the template of `prior` holds a placeholder."""
  if not any(word in template for word in PLACEHOLDERS):
    raise errors.UserError(
      f"prior '{prior}' has prompt template '{template}', which says nothing "
      f'of the concept; expected {" or ".join(PLACEHOLDERS)} in it.'
    )


def target_of(text: str) -> str:
  """Returns whom a prompt is about.

  Openings such as "a portrait of", "A DSLR photo portrait of" and "a 3D render
  of" are left out, one after the other. Identifier tokens such as [v] are left
  out everywhere: to a prior that has not learned them they mean nothing.
  """
  target = text
  while match := _OPENING.match(target):
    target = target[match.end() :]
  return _without_tokens(target) or target or text


def _without_tokens(text: str) -> str:
  """Leaves identifier tokens out: "an old man" for "a [v] old man"."""

  def leave_out(match: re.Match) -> str:
    article = match[1]
    following = match.string[match.end() : match.end() + 1].lower()
    if not article or not following.isalpha():
      return ''
    # u is left out, since many words with it take "a", such as "a unicorn".
    return f'{article[0]}n ' if following in 'aeio' else f'{article[0]} '

  return _TOKENS.sub(leave_out, text).strip()


def fill_template(template: str, text: str) -> str:
  """Returns the sentence that a prior's template makes of a text.

  Args:
    template: '{prompt}' stands for the whole text, '{target}' for whom it is
      about; see `target_of`.
    text: what a person typed; braces in it are left alone.
  """
  values = {'{prompt}': text, '{target}': target_of(text)}
  # In one pass, so that a text that holds '{target}' is not filled again.
  return re.sub(
    '|'.join(map(re.escape, PLACEHOLDERS)), lambda m: values[m[0]], template
  )


def add_prefix(prefix: str, prompt: str) -> str:
  """Returns e.g. 'A DSLR photo of a portrait ...' (MagicMirror, A.3).

  A prompt that opens with the prefix already does not get it twice.
  """
  if not prefix or prompt.lower().startswith(f'{prefix} '.lower()):
    return prompt
  return f'{prefix} {prompt}'


def add_view_word(prompt: str, word: str) -> str:
  """Returns the prompt of one view.

  The space before the comma is how the embedded priors' captions are written;
  CLIP's tokenizer reads both spellings alike.
  """
  return f'{prompt} , {word} view' if word else prompt


def compose(template: str, prefix: str, text: str, view_word: str = '') -> str:
  """Returns what a prior reads. Every text that is sent is made here.

  Args:
    template: the prior's; see `fill_template`.
    prefix: opens the prompt, e.g. 'A DSLR photo of'; '' for none.
    text: what a person typed.
    view_word: of the view that is shown; '' leaves the view unnamed.
  """
  prompt = add_prefix(prefix, fill_template(template, text))
  return add_view_word(prompt, view_word)
