"""The judge: a small classifier that says what a picture of a head shows.

Owns the network, its files and its probabilities. Trained on renders of
procedural heads that no prior has seen (`mmdist train_judge`); how its
answers become a score is `mmdist.evaluation.agreement`.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import model_files
from mmdist.core import shapes
from mmdist.core import strict_json
from mmdist.heads import worlds

IMAGE_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Question:
  """One attribute that the judge tells.

  Attributes:
    name: the attribute.
    values: its possible values, as strings.
    views: view words from which it can be told.
  """

  name: str
  values: tuple[str, ...]
  views: tuple[str, ...]


class JudgeNet(nn.Module):
  """Residual convolutions at 32, 16, 8 and 4 pixels; one head per question."""

  def __init__(self, num_values: tuple[int, ...], width: int = 32):
    super().__init__()
    widths = (width, 2 * width, 3 * width, 4 * width)
    self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
    blocks: list[nn.Module] = []
    for i, channels in enumerate(widths):
      if i:
        blocks.append(nn.Conv2d(widths[i - 1], channels, 3, 2, 1))
      blocks += [_Residual(channels), _Residual(channels)]
    self.blocks = nn.Sequential(*blocks)
    # The last 4 x 4 keeps its layout: a hat is above, a mouth below.
    self.body = nn.Linear(widths[-1] * 16, 256)
    self.heads = nn.Linear(256, sum(num_values))

  def forward(self, pixels: torch.Tensor) -> torch.Tensor:
    """[N, 3, 64, 64] in [-1, 1] -> [N, sum of values] logits."""
    features = functional.silu(self.blocks(self.stem(pixels)))
    hidden = functional.silu(self.body(features.flatten(1)))
    return self.heads(functional.dropout(hidden, 0.2, self.training))


class _Residual(nn.Module):
  """Two normalised convolutions beside the identity."""

  def __init__(self, channels: int):
    super().__init__()
    self.norms = nn.ModuleList([nn.GroupNorm(8, channels) for _ in range(2)])
    self.convs = nn.ModuleList(
      [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = x
    for norm, conv in zip(self.norms, self.convs, strict=True):
      y = conv(functional.silu(norm(y)))
    return x + y


class Judge:
  """A trained judge.

  Attributes:
    questions: what it can tell.
    net: the network.
    record: how it was trained and how well it does, as stored beside it.
    world: the embedded world whose heads it knows.
  """

  def __init__(
    self,
    questions: tuple[Question, ...],
    net: JudgeNet | None = None,
    record: Mapping | None = None,
    world: worlds.World | None = None,
  ):
    self.world = world or worlds.get(worlds.DEFAULT)
    self.questions = questions
    self.net = net or JudgeNet(tuple(len(q.values) for q in questions))
    self.record = dict(record or {})

  def probabilities(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns {question: [N, values] probabilities}.

    Args:
      images: [N, H, W, 3] in [0, 1] over any grey; resized to 64 pixels.
    """
    shapes.check_shape('images', images, ('N', 'H', 'W', 3))
    pixels = torch.from_numpy(np.array(images, np.float32)).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
      pixels = functional.interpolate(
        pixels,
        (IMAGE_SIZE, IMAGE_SIZE),
        mode='bilinear',
        align_corners=False,
        antialias=True,
      )
    self.net.eval()
    with torch.no_grad():
      parts = self.split(self.net(2 * pixels - 1))
    return {
      question.name: part.softmax(-1).numpy()
      for question, part in zip(self.questions, parts, strict=True)
    }

  def split(self, logits: torch.Tensor) -> list[torch.Tensor]:
    """Cuts [N, sum of values] logits into one part per question."""
    return list(logits.split([len(q.values) for q in self.questions], -1))


def save(judge: Judge, directory: str | os.PathLike) -> None:
  """Writes `judge.json` and `judge.safetensors` (float16)."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  weights = {k: v.half() for k, v in judge.net.state_dict().items()}
  with atomic.replacing(directory / 'judge.safetensors') as temporary:
    safetensors.torch.save_file(weights, temporary)
  content = {
    'questions': [dataclasses.asdict(question) for question in judge.questions],
    'record': judge.record,
    worlds.KEY: judge.world.name,
  }
  text = strict_json.dumps(content, indent=2)
  atomic.write_text(directory / 'judge.json', text + '\n')


def load(directory: str | os.PathLike) -> Judge:
  """Opens a judge.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  directory = pathlib.Path(directory)
  for name in ('judge.json', 'judge.safetensors'):
    if not (directory / name).is_file():
      raise FileNotFoundError(
        f'{directory / name} is missing; train a judge with '
        '`mmdist train_judge`.'
      )
  try:
    content = json.loads((directory / 'judge.json').read_text('utf-8'))
    questions = tuple(
      Question(q['name'], tuple(q['values']), tuple(q['views']))
      for q in content['questions']
    )
    world = worlds.recorded(content)
    judge = Judge(questions, record=content['record'], world=world)
    weights = safetensors.torch.load_file(directory / 'judge.safetensors')
    judge.net.load_state_dict({k: v.float() for k, v in weights.items()})
  except (
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    safetensors.SafetensorError,
  ) as error:
    raise errors.UserError(
      f'the judge in {directory} is corrupt ({model_files.first_line(error)}); '
      'train it again with `mmdist train_judge`.'
    ) from error
  return judge
