"""Steps of a prior's training that stay on one device, a GPU by intention.

Owns the step of `from_scratch` as a GPU wants it: all pictures lie there, the
noise is drawn there, and forward, backward, clipping, AdamW and the average of
the weights are recorded once and played back. Python sends a few kilobytes a
step and reads nothing back, but for `check`. Laws, schedules and checkpoints
are those of `denoising` and `from_scratch`; only noise and rounding differ from
a training on a CPU. What is seen comes from the caller.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import math
from typing import Any
import warnings

import numpy as np
import torch

from mmdist.core import errors
from mmdist.core import seeds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules
from mmdist.priors import text_encoders
from mmdist.priors.training import denoising
from mmdist.priors.training import from_scratch

_NUM_WARM_UPS = 3  # Steps that move nothing, in which libraries choose kernels.
_WINDOW = 100  # Steps that the loss shown is a mean of.
_MOST_AHEAD = 2  # Steps that Python may be ahead of the GPU.


def has_gpu() -> bool:
  """Returns whether this process has a GPU that such steps are for."""
  return torch.cuda.is_available()


def place(pipeline: pipelines.Pipeline) -> pipelines.Pipeline:
  """Returns the pipeline as a recording needs it.

  The schedule goes to the networks' device, since a copy from the CPU cannot be
  recorded, and autocast keeps no weights that were cast before a recording.
  """
  schedule = pipeline.schedule
  return dataclasses.replace(
    pipeline,
    schedule=dataclasses.replace(
      schedule,
      signal=schedule.signal.to(pipeline.device),
      noise=schedule.noise.to(pipeline.device),
      times=schedule.times.to(pipeline.device),
    ),
    memory=dataclasses.replace(pipeline.memory, cuda_graphs=True),
  )


def upload(pixels: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
  """Puts pictures [N, H, W, C] uint8 on a device, one shard after the other."""
  size = sum(map(len, pixels))
  pictures = torch.empty(
    (size, *pixels[0].shape[1:]), dtype=torch.uint8, device=device
  )
  first = 0
  for array in pixels:
    pictures[first : first + len(array)] = torch.from_numpy(array)
    first += len(array)
  return pictures


class Steps:
  """The steps of one training, on its pipeline's device.

  Args:
    pipeline: as `place` returns it; its denoiser moves.
    state: changed in place.
    training: how it is trained.
    pictures: [N, H, W, C] uint8 on the device: four channels are colours times
      their alpha, and alpha; three are shown as they are.
    families: [B] numbers of families, the same at every step.
    empty_tokens: [L] tokens of the empty text.
    report: is told if the step cannot be recorded.
    record: whether to record it; None: on CUDA.
  """

  def __init__(
    self,
    pipeline: pipelines.Pipeline,
    state: from_scratch.TrainingState,
    training: from_scratch.Training,
    pictures: torch.Tensor,
    families: np.ndarray,
    empty_tokens: np.ndarray,
    report: Callable[[str], None] = lambda line: None,
    record: bool | None = None,
  ):
    device = pipeline.device
    self._pipeline, self._state = pipeline, state
    self._training, self._pictures = training, pictures
    self._report = report
    self._record = device.type == 'cuda' if record is None else record
    self._play: Callable[[], None] | None = None
    self._weights = from_scratch.trainable_weights(pipeline)
    self._lead, which = denoising.follow_families(families)
    self._groups = denoising.members(which, device)
    self._empty = np.asarray(empty_tokens)
    size = len(families)
    # What a step reads; a recording finds it at these addresses.
    self._rows = torch.zeros(size, dtype=torch.int64, device=device)
    self._greys = torch.zeros(size, device=device)
    self._timestep = torch.zeros(size, dtype=torch.int64, device=device)
    self._leads = torch.from_numpy(self._lead).to(device)
    with torch.no_grad():
      latents = self._latents()
      tokens = np.tile(self._empty, (size, 1))
      self._embeds = self._read(tokens).sequence.clone()
    self._noise = torch.zeros_like(latents)
    self._pull = torch.zeros((), device=device)
    # What it leaves: the loss, and 1 from the first gradient on that is not
    # finite. AdamW and the average move nothing while that is 1.
    self._loss = torch.zeros((), device=device)
    self._bad = torch.zeros((), device=device)
    self._losses = torch.full((_WINDOW,), math.nan, device=device)
    self._generator = torch.Generator(device)
    self._events: collections.deque[Any] = collections.deque()
    optimizer: Any = state.optimizer
    optimizer.found_inf = self._bad  # What fused AdamW looks at.

  def step(
    self, rows: np.ndarray, greys: np.ndarray, tokens: np.ndarray
  ) -> None:
    """Takes one step; on a GPU it has only been asked for on return.

    Args:
      rows: [B] int64 of the pictures.
      greys: [B] float32, what lies behind each.
      tokens: [B, L] of its caption.
    """
    state = self._state
    self._fill(rows, greys, tokens)
    if self._play is None:
      self._play = self._prepare()
    with _fast_convolutions():
      self._play()
    self._losses[state.step % _WINDOW].copy_(self._loss)
    state.step += 1
    state.num_seen += len(rows)
    self._wait_for_earlier()

  def check(self) -> float:
    """Waits for the device; returns the mean of the last losses.

    Raises:
      NotFinite: a gradient was not finite since the last check. No weight, no
        moment and no average has moved from that step on.
    """
    loss = self._losses.nanmean()
    loss, bad = torch.stack([loss, self._bad]).tolist()
    if bad:
      raise errors.NotFinite(
        f'a gradient is not finite in the last steps before step '
        f'{self._state.step}, at a mean loss of {loss}; the last checkpoint is '
        'sound, try a lower learning rate.'
      )
    return float(loss)

  def _fill(
    self, rows: np.ndarray, greys: np.ndarray, tokens: np.ndarray
  ) -> None:
    """Draws t, noise and empty texts of a step, and puts all where it is read.

    The laws are those of a CPU, and t is that of its rank 0.
    """
    state, training = self._state, self._training
    rng = seeds.generator(training.seed, state.step, 'dreambooth')
    t = denoising.draw_t(rng, self._lead, training.noise_emphasis)
    empty = denoising.draw_empty(rng, self._lead, training.empty_text_share)
    tokens = np.where(empty[:, None], self._empty, tokens)
    rate = from_scratch.learning_rate(training, state.step, state.num_seen)
    keep = min(training.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
      self._put(self._rows, torch.from_numpy(rows))
      self._put(self._greys, torch.from_numpy(greys))
      self._put(
        self._timestep, schedules.t_to_timestep(self._pipeline.schedule, t)
      )
      self._embeds.copy_(self._read(tokens).sequence)
      seed = seeds.derive_seed(training.seed, state.step, 'noise of a device')
      self._generator.manual_seed(seed)
      self._noise.normal_(generator=self._generator)
      self._pull.fill_(1 - keep)
    group = state.optimizer.param_groups[0]
    if isinstance(group['lr'], torch.Tensor):
      group['lr'].fill_(rate)
    else:
      group['lr'] = rate

  def _put(self, where: torch.Tensor, value: torch.Tensor) -> None:
    """Copies from the CPU without waiting for the GPU."""
    if where.is_cuda:
      # Memory that is not pinned would be waited for. PyTorch hands pinned
      # memory out again only when its copy is done.
      value = value.pin_memory()
    where.copy_(value, non_blocking=True)

  def _read(self, tokens: np.ndarray) -> text_encoders.PromptEmbeds:
    """Encodes tokens outside the recording, since transformers may ask the CPU.

    The text encoder is frozen, and small.
    """
    ids = torch.empty(tokens.shape, dtype=torch.int64, device=self._rows.device)
    self._put(ids, torch.from_numpy(tokens.astype(np.int64)))
    return self._pipeline.text.readers[0].read_tokens(ids)

  def _latents(self) -> torch.Tensor:
    """Returns the latents of the pictures of this step, over their greys."""
    images = self._pictures[self._rows].float() / 255
    if images.shape[-1] == 4:
      grey = self._greys[:, None, None, None]
      images = images[..., :3] + (1 - images[..., 3:]) * grey
    return pipelines.encode_images(self._pipeline, images)

  def loss(self) -> torch.Tensor:
    """Returns the loss of what was filled in, with gradient."""
    with torch.no_grad():
      latents = self._latents()
      noise = self._noise[self._leads]
      weights = denoising.family_weights(
        latents, self._groups, self._training.family_emphasis
      )
    return denoising.squared_errors(
      self._pipeline,
      latents,
      self._timestep,
      noise,
      text_encoders.PromptEmbeds(self._embeds),
      weights,
    ).mean()

  def _move(self) -> None:
    """Takes the step on what was filled in, and asks the CPU for nothing."""
    state, weights = self._state, self._weights
    state.optimizer.zero_grad(set_to_none=True)
    loss = self.loss()
    loss.backward()
    _match_layouts(weights)
    norm = torch.nn.utils.clip_grad_norm_(
      weights, self._training.max_gradient_norm
    )
    self._bad.copy_(torch.maximum(self._bad, (~norm.isfinite()).float()))
    state.optimizer.step()
    with torch.no_grad():
      moved = [weight.detach() for weight in weights]
      steps = torch._foreach_sub(moved, state.average)
      torch._foreach_mul_(steps, self._pull * (1 - self._bad))
      torch._foreach_add_(state.average, steps)
      self._loss.copy_(loss)

  def _prepare(self) -> Callable[[], None]:
    """Returns what takes a step: a recording of it, or the step itself."""
    if not self._record:
      return self._move
    try:
      return self._recorded()
    except RuntimeError as error:
      self._bad.zero_()
      cause: BaseException = error
      while cause.__context__ is not None:  # Ending a recording fails, too.
        cause = cause.__context__
      line = (str(cause).strip() or type(cause).__name__).splitlines()[0]
      self._report(
        f'warning: the step cannot be recorded ({line}); it goes on slower, '
        'asked for kernel by kernel.'
      )
      return self._move

  def _recorded(self) -> Callable[[], None]:
    """Records the step on a GPU; nothing moves."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    # One stream for both: gradients are added up on the stream that a weight
    # was first used on. The block also brings back the stream of now if the
    # recording fails.
    with torch.cuda.stream(stream), _fast_convolutions():
      with warnings.catch_warnings():
        # AdamW is told that it will be recorded, and wonders at warm-ups.
        warnings.filterwarnings('ignore', 'This instance was constructed with')
        for _ in range(_NUM_WARM_UPS):
          self._bad.fill_(1)  # Moments come to be, and nothing moves.
          self._move()
      self._bad.zero_()
      torch.cuda.synchronize()
      recording = torch.cuda.CUDAGraph()
      # Other threads, such as JAX's, may allocate meanwhile.
      with torch.cuda.graph(
        recording, stream=stream, capture_error_mode='thread_local'
      ):
        self._move()
    torch.cuda.current_stream().wait_stream(stream)
    return recording.replay

  def _wait_for_earlier(self) -> None:
    """Lets Python be a few steps ahead, so that it can stop in time."""
    if not self._rows.is_cuda:
      return
    event = torch.cuda.Event()
    event.record()
    self._events.append(event)
    if len(self._events) > _MOST_AHEAD:
      self._events.popleft().synchronize()


@contextlib.contextmanager
def _fast_convolutions() -> Iterator[None]:
  """Lets cuDNN time its algorithms and keep the fastest, while this lasts."""
  before = torch.backends.cudnn.benchmark
  torch.backends.cudnn.benchmark = True
  try:
    yield
  finally:
    torch.backends.cudnn.benchmark = before


def _match_layouts(weights: Sequence[torch.nn.Parameter]) -> None:
  """Gives each gradient the strides of its weight.

  Fused AdamW on CUDA refuses others, even where they mean the same, as those of
  a convolution of one pixel do.
  """
  for weight in weights:
    gradient = weight.grad
    if gradient is not None and gradient.stride() != weight.stride():
      weight.grad = torch.empty_like(weight).copy_(gradient)
