"""The LoRAs of a prior as the value of one flag; `register` makes it known."""

from typing import Any

from absl import flags
from ml_collections import config_flags

from mmdist.core import lora_lists


class LorasParser(flags.ArgumentParser):
  """Parses `--config.priors.generic.loras="[('a.safetensors', 0.8)]"`."""

  def parse(self, argument: Any) -> lora_lists.Loras:
    if isinstance(argument, tuple):  # The field's default.
      return argument
    return lora_lists.parse(argument)

  def flag_type(self) -> str:
    return 'loras'


def register() -> None:
  """Lets `config_flags` parse the field."""
  config_flags.register_flag_parser_for_type(lora_lists.Loras, LorasParser())
