"""Text encoders that are language models with a template around the prompt.

A text is read alone, without padding: what such a model says of a token depends
on those before it only. The network is given as many tokens of each text, those
behind a shorter one being zeros, and is told which they are.
"""

from collections.abc import Sequence
import dataclasses

import torch
from torch.nn import functional

from mmdist.priors import chat_templates
from mmdist.priors import text_encoders


@dataclasses.dataclass(frozen=True, eq=False)
class ChatReader(text_encoders.Reader):
  """A tokenizer with a language model; it always has a template."""

  def read(self, texts: Sequence[str]) -> text_encoders.PromptEmbeds:
    """Encodes N texts; one that is too long is cut.

    Returns:
      `sequence` [N, L, D]; `pooled` [N, L] is 1 for tokens, 0 for padding.
    """
    return text_encoders.stack([self._read_one(text) for text in texts])

  def _read_one(self, text: str) -> text_encoders.PromptEmbeds:
    template = (self.template or chat_templates.Template()).of(text)
    tokens = self.tokenizer(
      template.wrap(text),
      padding=False,
      truncation=True,
      max_length=template.most_tokens(self.length),
      return_tensors='pt',
    ).to(self.text_encoder.device)
    # Without the head that tells the next word.
    output = self.text_encoder.base_model(
      input_ids=tokens['input_ids'],
      attention_mask=tokens['attention_mask'],
      output_hidden_states=self.style.penultimate,
      use_cache=False,
    )
    hidden = (
      output.hidden_states[-2]
      if self.style.penultimate
      else output.last_hidden_state
    )
    given = hidden[:, template.skip :]
    if template.keeps_first:
      given = torch.cat([hidden[:, :1], given], 1)
    count = given.shape[1]
    mask = torch.ones(1, count, device=given.device)
    rest = self.length - count
    return text_encoders.PromptEmbeds(
      functional.pad(given.float(), (0, 0, 0, rest)),
      functional.pad(mask, (0, rest)),
    )
