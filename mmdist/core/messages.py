"""What crosses a process boundary between the learner and a prior.

Everything here is numpy and plain Python, so that a prior's process never
imports JAX and the learner's never imports torch. A request carries every
random choice of its answer: asking again gives the same answer again.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal, Protocol

import numpy as np

Channel = Literal['rgb', 'normal']
CHANNELS: tuple[Channel, ...] = ('rgb', 'normal')


@dataclasses.dataclass(frozen=True)
class Term:
  """One concept as one prior is asked about it.

  Attributes:
    prompts: V texts with view words, one per view; what the frozen base reads.
    plain_prompt: the text without view words; what the proxy reads
      (method.md O13).
    weight: signed, alpha > 0 or -beta < 0 (O6).
    guidance_scale: of the base; s in uncond + s (cond - uncond) (O15).
  """

  prompts: tuple[str, ...]
  plain_prompt: str
  weight: float
  guidance_scale: float


@dataclasses.dataclass(frozen=True)
class ScoreRequest:
  """One question to one prior: how would you change these images?

  Attributes:
    step: optimisation step that asks, from 0.
    images: [V, H, W, 3] float32 in [0, 1]; normals are coloured (n + 1) / 2.
    terms: the concepts, one or more, whose weighted sum is asked for.
    noise_levels: [V] float32 t in [0, 1].
    seed: decides the noise of the score and every draw of the proxy's fit.
    proxy_step: fits the proxy must have behind it when it answers.
    proxy_learning_rate: learning rate of the fit that follows (O17).
    mode: how the concepts' pulls are composed, one of
      `mmdist.core.composition.MODES` (O21).
  """

  step: int
  images: np.ndarray
  terms: tuple[Term, ...]
  noise_levels: np.ndarray
  seed: int
  proxy_step: int
  proxy_learning_rate: float
  mode: str = 'sum'


@dataclasses.dataclass(frozen=True)
class ScoreGradient:
  """One prior's answer: the weighted pull on the pixels it was shown.

  Attributes:
    step: the request's step.
    prior: name of the prior that answers.
    channel: the channel its images came from.
    cotangent: [V, H, W, 3] float32 dL/d image of the request's images, summed
      over concepts with their signed weights. L is a mean over views, pixels
      and channels (O5), so it does not grow with the resolution.
    proxy_step: fits the proxy had behind it when it answered.
    metrics: scalars; per concept i `norm_i`, `cosine_i` (with the sum), and
      `proxy_loss`, `seconds`.
  """

  step: int
  prior: str
  channel: Channel
  cotangent: np.ndarray
  proxy_step: int
  metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class ProxyState:
  """Everything a proxy has learned: LoRA weights and their optimiser.

  Attributes:
    step: fits behind it.
    arrays: flat name -> array; `lora/...`, `exp_avg/...`, `exp_avg_sq/...`.
  """

  step: int
  arrays: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class MemoryOptions:
  """What a prior spends time on to save memory, or memory to save time.

  Attributes:
    channels_last: memory format of the denoiser's images.
    batched: score base and proxy in one pass of mixed adapters.
    checkpoint_encoder: run the VAE's encoder again in its backward pass
      instead of keeping its activations.
    attention_slicing: as diffusers has it for UNets.
    text_dtype: of the text encoders.
    offload_text: keep the text encoders on the CPU; each text is read once.
  """

  channels_last: bool = True
  batched: bool = False
  checkpoint_encoder: bool = True
  attention_slicing: bool = False
  text_dtype: str = 'float32'
  offload_text: bool = False


@dataclasses.dataclass(frozen=True)
class PriorSpec:
  """The picklable recipe from which an actor builds its prior.

  Attributes:
    name: what concepts and metrics call it.
    channel: which renders it looks at.
    directory: a diffusers directory.
    dtype: 'float32', 'bfloat16' or 'float16', the frozen network's.
    rank: LoRA rank of the proxy (O17).
    proxy_guidance_scale: CFG of the proxy (O14); 1 runs no unconditional pass.
    objective: 'vsd' (O2) or 'sds' (O1; no proxy).
    weighting: name of w(t) (O4).
    proxy_noise: 'own' or 'shared' draws for the fit (O12).
    device: torch device string; 'auto' takes CUDA where there is one.
    num_threads: torch threads of the process; 0 leaves them alone.
    lora: a LoRA of the user's own (safetensors), part of the frozen model.
    lora_scale: how much of it.
    memory: see `MemoryOptions`.
  """

  name: str
  channel: Channel
  directory: str
  dtype: str = 'bfloat16'
  rank: int = 4
  proxy_guidance_scale: float = 1.0
  objective: str = 'vsd'
  weighting: str = 'sigma2'
  proxy_noise: str = 'own'
  device: str = 'auto'
  num_threads: int = 1
  lora: str = ''
  lora_scale: float = 1.0
  memory: MemoryOptions = MemoryOptions()


class Prior(Protocol):
  """What an actor hosts; see `mmdist.priors.prior` for the real one."""

  def score(self, request: ScoreRequest) -> ScoreGradient:
    """Answers; the proxy's fit on the same renders may come after."""

  def fit(self) -> Mapping[str, float]:
    """Fits the proxy once, unsigned (O7), on the last request's renders."""

  def save_proxy(self) -> ProxyState: ...

  def restore_proxy(self, state: ProxyState) -> None: ...


@dataclasses.dataclass(frozen=True)
class PriorRecipe:
  """A prior, not yet built: `build(spec)` runs in the prior's own process.

  `build` is a module-level function (picklable by name), handed in by the
  launcher, so that the executors never import the priors.
  """

  spec: PriorSpec
  build: Any
