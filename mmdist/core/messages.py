"""What crosses a process boundary between the learner and a prior.

Everything here is numpy and plain Python, so that a prior's process never
imports JAX and the learner's never imports torch. A request carries every
random choice of its answer: asking again gives the same answer again.
"""

from collections.abc import Callable, Mapping
import copy
import dataclasses
from typing import Any, Protocol, TypeAlias

import numpy as np

from mmdist.core import lora_lists

# What the fields of `PriorOptions` may be. Here, so that a configuration is
# checked without importing torch; `mmdist.priors` implements each of them.
CHANNELS = ('rgb', 'normal')
AUTO = 'auto'
TEXT_DTYPES = ('float32', 'bfloat16', 'float16')
DTYPES = (AUTO, *TEXT_DTYPES)
WEIGHTINGS = ('sigma2', 'uniform', 'x0', 'fantasia')
PROXY_NOISES = ('own', 'shared')
PROXY_SCOPES = ('prior', 'concept')

# One of CHANNELS. Not a Literal: configurations and flags know str alone.
Channel: TypeAlias = str


@dataclasses.dataclass(frozen=True)
class Term:
  """One concept as one prior is asked about it.

  Attributes:
    prompts: V texts with view words, one per view; what the frozen base reads.
    plain_prompt: the text without view words; what the proxy reads.
    weight: signed, alpha > 0 or -beta < 0.
    guidance_scale: of the base; s in uncond + s (cond - uncond).
    negative_prompt: what the kind of guidance makes of it is said in
      docs/method.md, section 2, 'Kinds of guidance'; '' is the empty text.
    negative_scale: factor on the negative text in `csd`.
  """

  prompts: tuple[str, ...]
  plain_prompt: str
  weight: float
  guidance_scale: float
  negative_prompt: str = ''
  negative_scale: float = 0.0


@dataclasses.dataclass(frozen=True)
class ScoreRequest:
  """One question to one prior: how would you change these images?

  A step may ask in parts (`views.micro_batches`), one request each, in the
  order of the views. Whatever is drawn for a view is drawn for all of the
  prior's views of the step and cut, so it does not depend on the parts.

  Attributes:
    step: optimisation step that asks, from 0.
    images: [V, H, W, 3] float32 in [0, 1]; normals are coloured (n + 1) / 2.
    terms: the concepts, one or more, whose weighted sum is asked for.
    noise_levels: [V] float32 t in [0, 1].
    seed: decides the noise of the score and every draw of the proxy's fit.
    proxy_step: fits the proxy must have behind it when it answers.
    proxy_learning_rate: learning rate of the fit that follows.
    mode: how the concepts' residuals are composed, one of
      `mmdist.core.composition.MODES`.
    first_view: number of its first view among those that this prior is shown
      in this step, from 0.
    num_views: how many views those are; 0: this request holds all of them.
    progress: of the run, from 0 to 1; `bridge` has two stages.
    least_noise_level: the smallest t that the run draws; for `asd`.
    start_images: [V, H, W, 3] the same views of what the run started from; for
      `dds`, else None.
  """

  step: int
  images: np.ndarray
  terms: tuple[Term, ...]
  noise_levels: np.ndarray
  seed: int
  proxy_step: int
  proxy_learning_rate: float
  mode: str = 'sum'
  first_view: int = 0
  num_views: int = 0
  progress: float = 0.0
  least_noise_level: float = 0.0
  start_images: np.ndarray | None = None

  @property
  def num_views_of_step(self) -> int:
    """How many views the prior is shown in this step, in all requests."""
    return self.num_views or len(self.images)

  @property
  def rows(self) -> slice:
    """Which of the prior's views of the step the request holds."""
    return slice(self.first_view, self.first_view + len(self.images))

  @property
  def is_first(self) -> bool:
    """Whether the prior's views of the step begin here."""
    return self.first_view == 0

  @property
  def is_last(self) -> bool:
    """Whether they end here; the fit of the step follows."""
    return self.rows.stop == self.num_views_of_step


@dataclasses.dataclass(frozen=True)
class ScoreGradient:
  """One prior's answer: a weighted cotangent of the pixels it was shown.

  Attributes:
    step: the request's step.
    prior: name of the prior that answers.
    channel: the channel its images came from.
    cotangent: [V, H, W, 3] float32 dL/d image of the request's images, summed
      over concepts with their signed weights. L is a mean over the request's
      views, pixels and channels, so it does not grow with the resolution.
    proxy_step: fits the proxy had behind it when it answered.
    metrics: scalars; per term i `norm_i`, `cosine_i` (with the sum) and
      `share_i` (of the sum), and `seconds`. A fit's numbers are returned by
      `Prior.fit`. Where a step asks in parts, they are of all parts so far, so
      that those of the last part are the step's.
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
    step: number of fits done so far.
    arrays: flat name -> array; `lora/...`, `exp_avg/...`, `exp_avg_sq/...`.
      Where each concept has a proxy, these lie below a label of its text,
      beside its own count of fits, `LABEL/step`.
    dtype: in which the frozen network computes where the copy was made, one of
      `TEXT_DTYPES`; '' where nobody says.
  """

  step: int
  arrays: Mapping[str, np.ndarray]
  dtype: str = ''


@dataclasses.dataclass
class MemoryOptions:
  """What a prior spends time on to save memory, or memory to save time.

  Attributes:
    channels_last: memory format of the denoiser's images.
    batched: score base and proxy in one pass of mixed adapters.
    checkpoint_encoder: run the VAE's encoder again in its backward pass
      instead of keeping its activations.
    attention_slicing: as diffusers has it for UNets.
    text_dtype: of the text encoders, one of `TEXT_DTYPES`.
    offload_text: keep the text encoders on the CPU; each text is read once.
    cuda_graphs: record the passes of a network on a GPU once, and play them;
      needs the memory of each pass for good. Not with `batched`.
  """

  channels_last: bool = True
  batched: bool = False
  checkpoint_encoder: bool = True
  attention_slicing: bool = False
  text_dtype: str = 'float32'
  offload_text: bool = False
  cuda_graphs: bool = False


@dataclasses.dataclass
class PriorOptions:
  """What a prior is made of: the part of its configuration that it reads.

  Mutable, because the command line sets the fields of a configuration, and
  `config.schema.PriorConfig` inherits these. Whoever is handed one treats it
  as a constant.

  Attributes:
    directory: a diffusers directory, a checkpoint in one .safetensors file (see
      `base`), an embedded name, or OWNER/NAME@COMMIT of a hub.
    lora: a LoRA of the user's own (safetensors), part of the frozen model; ''
      for none.
    lora_scale: factor on that LoRA; 0 changes nothing.
    loras: more LoRAs, each a file and its factor: (('hat.safetensors', 0.8),).
      What they change adds up, whatever their order.
    base: where `directory` is a checkpoint in one file: a diffusers directory
      of the same family with what that lacks, its tokenizers at least.
    prompt_chunks: pieces in which a text is read, so that longer ones fit; the
      text encoder is asked for each. 1 cuts off what is too long.
    channel: which renders it looks at, one of `CHANNELS`.
    dtype: the frozen network's, one of `DTYPES`; 'auto' takes bfloat16 where
      the device multiplies it in hardware, else float32.
    rank: LoRA rank of the proxy.
    proxy_guidance_scale: classifier-free guidance of the proxy; 1 runs no
      unconditional pass.
    objective: the kind of guidance, which says what the guided prediction is
      compared with; a key of `mmdist.core.guidance_kinds.KINDS`. 'vsd' alone
      has a proxy.
    noising: 'random' noise is added to renders, or they are led up to it by
      DDIM inversion, 'inverted'; '' is as the kind has it.
    normalise: divide each view's pull by the mean |x - x0|, so that its size
      does not depend on t.
    first_stage: share of the run in which 'bridge' is still 'sds'.
    inversion_guidance_scale: of 'sdi' on its way up; s in
      uncond + s (cond - uncond).
    weighting: name of w(t), one of `WEIGHTINGS` (docs/method.md, section 2,
      'Weighting').
    proxy_noise: one of `PROXY_NOISES`: the fit draws t and noise of its 'own',
      or has the score's, 'shared'.
    proxy_per: one of `PROXY_SCOPES`: one proxy learns the renders under the
      texts of all concepts of the 'prior', or each 'concept' has its own.
    device: torch device string; 'auto' takes CUDA where there is one.
    memory: see `MemoryOptions`.
  """

  directory: str = 'color'
  lora: str = ''
  lora_scale: float = 1.0
  loras: lora_lists.Loras = ()
  base: str = ''
  prompt_chunks: int = 1
  channel: Channel = 'rgb'
  dtype: str = AUTO
  rank: int = 4
  proxy_guidance_scale: float = 1.0
  objective: str = 'vsd'
  noising: str = ''
  normalise: bool = False
  first_stage: float = 0.5
  inversion_guidance_scale: float = -6.5
  weighting: str = 'sigma2'
  proxy_noise: str = 'own'
  proxy_per: str = 'prior'
  device: str = AUTO
  memory: MemoryOptions = dataclasses.field(default_factory=MemoryOptions)

  def __post_init__(self) -> None:
    # Files of configurations hold lists, and a program may give any sequence.
    self.loras = lora_lists.normalise(self.loras)

  @property
  def all_loras(self) -> lora_lists.Loras:
    """`lora` and `loras`: every LoRA, with its factor."""
    one = ((self.lora, self.lora_scale),) if self.lora else ()
    return (*one, *self.loras)

  @property
  def has_proxy(self) -> bool:
    """Whether there is a proxy to fit; only VSD compares with one."""
    return self.objective == 'vsd'


@dataclasses.dataclass(frozen=True)
class PriorSpec:
  """Everything that an actor needs to build its prior; picklable.

  Attributes:
    name: what concepts and metrics call it.
    options: see `PriorOptions`; a copy, so that it stays as it is.
    num_threads: torch threads of the process; 0 leaves them alone.
    files: sha256 over all files that the prior is built from. Priors with the
      same `sharing_key` may have their frozen weights in common; with '' a
      prior shares its weights with none.
  """

  name: str
  options: PriorOptions
  num_threads: int = 1
  files: str = ''

  @property
  def sharing_key(self) -> tuple | None:
    """Equal for priors that can share a frozen model; None shares with none."""
    if not self.files:
      return None
    options = self.options
    return (
      self.files,
      tuple(scale for _, scale in options.all_loras),
      options.prompt_chunks,
      options.dtype,
      options.device,
      dataclasses.astuple(options.memory),
      self.num_threads,
    )


def copy_options(options: PriorOptions, **changes: Any) -> PriorOptions:
  """Returns a copy of the options, without what a subclass adds to them.

  Args:
    options: a `PriorOptions`, or a configuration that inherits from it.
    **changes: fields that are to differ.
  """
  fields = {
    field.name: copy.deepcopy(getattr(options, field.name))
    for field in dataclasses.fields(PriorOptions)
  }
  return PriorOptions(**fields | changes)


class Prior(Protocol):
  """What an actor runs; see `mmdist.priors.prior` for the real one.

  Calls come one at a time: a score, its fit, the next score. Where a step asks
  in parts, the scores of all parts come before its one fit; a step that was
  given up may leave some parts out, and the next one begins with its first. A
  copy may be asked for or put back between two steps. A prior counts its fits:
  the `proxy_step` of its answers and the `step` of its states are how many it
  has behind it. A prior without anything to learn counts the calls of `fit`.

  A prior may also have a method `close()`, which should release what the prior
  holds. It is called where a prior leaves a process that goes on: an actor in
  which others stay, or the learner's. An object that was handed over is not
  closed in the learner's process, where it is its owner's.
  """

  def score(self, request: ScoreRequest) -> ScoreGradient:
    """Answers a request; the fit on all renders of its step follows."""

  def fit(self) -> Mapping[str, float]:
    """Fits the proxy once, unsigned, on all renders of the last step.

    Returns:
      Scalars for the metrics, e.g. `proxy_loss`; `proxy_loss_i` is of term i.
    """

  def save_proxy(self) -> ProxyState:
    """Returns a copy of everything that fits have changed."""

  def restore_proxy(self, state: ProxyState) -> None:
    """Goes back to a copy, bit for bit."""


@dataclasses.dataclass(frozen=True)
class PriorRecipe:
  """A prior, not yet built: `build(spec)` runs in the prior's own process.

  `build` is a callable that can be pickled, chosen by `mmdist.run.recipes`, so
  that the executors never import the priors.

  Attributes:
    spec: what is built.
    build: builds it.
    is_given: whether `build` returns an object that was there before, and that
      belongs to whoever handed it over.
  """

  spec: PriorSpec
  build: Callable[[PriorSpec], Prior]
  is_given: bool = False


def group_by_files(
  recipes: Mapping[str, PriorRecipe],
) -> dict[tuple, list[str]]:
  """Returns the names of the priors that can share an actor, by a key."""
  groups: dict[tuple, list[str]] = {}
  for name, recipe in recipes.items():
    groups.setdefault(recipe.spec.sharing_key or (name,), []).append(name)
  return groups
