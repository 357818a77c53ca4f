"""A prior's proxy: a LoRA on its own UNet that learns what the renders are.

One copy of the UNet serves as both: adapters on is the proxy, off the frozen
base. An adapter adds B A x to what a layer gives. B starts at zero, so at step
0 both are the same function, bit for bit (docs/method.md, section 2, 'Proxy').

One UNet may carry the adapters of several proxies: those of several concepts,
or of several priors and learners that share its weights. Each has its own
optimiser, and learns and predicts the same bits as a proxy that is alone.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import math
from typing import Any
import warnings

import numpy as np
import peft
import torch

from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import cuda_graphs

# The layers that carry the texture: attention, convolutions, time. Those with
# `add_` in their names read the text, in DeepFloyd IF and Stable Diffusion 3.
TARGETS = (
  'to_q',
  'to_k',
  'to_v',
  'to_out.0',
  'conv1',
  'conv2',
  'proj_in',
  'proj_out',
  'time_emb_proj',
  'add_q_proj',
  'add_k_proj',
  'add_v_proj',
  'to_add_out',
)
BETAS = (0.9, 0.99)
ADAPTER = 'default'  # Diffusers' name for an adapter that is given none.
_BASE = '__base__'  # PEFT's name for a row without an adapter.
_MOMENTS = ('exp_avg', 'exp_avg_sq')


def lora_config(rank: int) -> peft.LoraConfig:
  """Returns PEFT's configuration of a LoRA on `TARGETS`."""
  return peft.LoraConfig(
    r=rank,
    lora_alpha=rank,
    init_lora_weights='gaussian',
    target_modules=list(TARGETS),
  )


@dataclasses.dataclass(frozen=True)
class Member:
  """One of the proxies that a fit moves.

  Attributes:
    proxy: whose adapters move.
    texts: what its renders are called, without view words.
  """

  proxy: 'Proxy'
  texts: tuple[str, ...]


class Proxy:
  """The adapters of one name in a UNet, and the Adam that moves them.

  Attributes:
    adapter: their name.
    step: number of fits done so far.
    parameters: flat name -> LoRA weight, float32; the names are those of a
      proxy that is alone, whatever the adapters are called.
    recordings: of passes with its adapters; None records none.
  """

  def __init__(
    self,
    unet: Any,
    rank: int = 4,
    seed: int = 0,
    adapter: str = ADAPTER,
    records: bool = False,
  ):
    """Adds the adapters, switched off.

    Args:
      unet: a frozen diffusers model; it is changed in place.
      rank: of every adapter.
      seed: decides A; B is zero.
      adapter: a name that no other proxy of the UNet has.
      records: whether its passes are recorded; see `cuda_graphs`.
    """
    self.adapter = adapter
    self.recordings = cuda_graphs.Recordings() if records else None
    self._unet = unet
    # PEFT draws from the global generator, which is put back afterwards.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
      # PEFT warns of a second adapter; several are meant here.
      warnings.filterwarnings('ignore', 'Already found a `peft_config`')
      torch.manual_seed(seeds.derive_seed(seed, 0, 'proxy') % (1 << 32))
      unet.add_adapter(lora_config(rank), adapter)
    self.parameters = {
      name.replace(f'.{adapter}.', f'.{ADAPTER}.'): weight
      for name, weight in unet.named_parameters()
      if f'.{adapter}.' in name
    }
    # In float32 also where the UNet is bfloat16: a step of Adam is often
    # smaller than the distance between two neighbouring bfloat16 numbers.
    for weight in self.parameters.values():
      weight.data = weight.data.float()
    # Found once: walking the UNet costs as much as one of its layers.
    self._layers: list[Any] = [
      module
      for module in unet.modules()
      if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer)
    ]
    self.step = 0
    self._adam = self._new_adam()
    self._switch(False)

  def of(self, text: str) -> 'Proxy':
    """Returns the proxy that has learned a text: this one has learned all."""
    del text
    return self

  def members(self, texts: Sequence[str]) -> dict[str, 'Member']:
    """Returns what a fit on texts without view words moves, by a label."""
    return {'': Member(self, tuple(texts))}

  def remove(self) -> None:
    """Takes the adapters out of the UNet; the proxy is of no use afterwards."""
    with warnings.catch_warnings():
      # PEFT warns which adapter it makes active; it is chosen before each use.
      warnings.filterwarnings('ignore', 'Adapter .* was active which is now')
      self._unet.delete_adapters(self.adapter)
    self.parameters = {}
    self.recordings = None  # Their memory is free with them.

  def _new_adam(self) -> torch.optim.Adam:
    return torch.optim.Adam(self.parameters.values(), betas=BETAS)

  @contextlib.contextmanager
  def active(self) -> Iterator[None]:
    """Inside, the UNet is the proxy; outside, the frozen base."""
    self._switch(True)
    try:
      yield
    # Also after an error: the next score must find the frozen base.
    finally:
      self._switch(False)

  @contextlib.contextmanager
  def mixed(self, adapters: Sequence[str | None]) -> Iterator[None]:
    """Inside, every row of a batch has the adapters that are named for it.

    Args:
      adapters: one name per row, of any proxy of this UNet; None for the
        frozen base.
    """
    names = [name or _BASE for name in adapters]

    # PEFT chooses adapters by row from an argument of each layer. A UNet does
    # not hand arguments of its own on to its layers, so hooks add this one.
    def choose(
      module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]]:
      del module
      return args, {**kwargs, 'adapter_names': names}

    hooks = [
      layer.register_forward_pre_hook(choose, with_kwargs=True)
      for layer in self._layers
    ]
    try:
      with self.active():
        yield
    finally:
      for hook in hooks:
        hook.remove()

  def _switch(self, on: bool) -> None:
    for layer in self._layers:
      if on and layer.active_adapters != [self.adapter]:
        layer.set_adapter([self.adapter])
      layer.enable_adapters(on)

  def fit(
    self,
    loss_of_proxy: Callable[..., torch.Tensor],
    learning_rate: float,
    inputs: cuda_graphs.Tensors = (),
  ) -> float:
    """Descends a loss once.

    Args:
      loss_of_proxy: runs the UNet on the inputs and returns a scalar.
      learning_rate: of this step alone; the schedule is the learner's.
      inputs: what of the loss is another one in each fit.

    Returns:
      The loss before the step.

    Raises:
      NotFinite: loss or gradient is not finite; nothing has moved.
    """
    # Of the adapters alone; no gradient is kept for the frozen weights.
    weights = list(self.parameters.values())

    def differentiate(*given: torch.Tensor | None) -> list[torch.Tensor]:
      with torch.enable_grad():
        loss = loss_of_proxy(*given)
        # Zero for adapters that nothing follows from: the last block of some
        # transformers (Qwen-Image) reads the text once more, for nobody.
        gradients = torch.autograd.grad(
          loss, weights, allow_unused=True, materialize_grads=True
        )
        return [loss.detach(), *gradients]

    with self.active():
      if self.recordings is None:
        loss, *gradients = differentiate(*inputs)
      else:
        loss, *gradients = self.recordings.run('fit', differentiate, inputs)
    # Before anything moves. A check of the loss alone is not enough: a finite
    # loss may have an infinite gradient. Gathered on the device, so that it is
    # read once.
    largest = torch.nn.utils.get_total_norm(gradients, math.inf)
    if not (loss.isfinite() & largest.isfinite()):
      raise errors.NotFinite(
        f'fit {self.step} has a loss of {loss.item()} or a gradient that is '
        'not finite'
      )
    for weight, gradient in zip(weights, gradients, strict=True):
      weight.grad = gradient
    self._adam.param_groups[0]['lr'] = learning_rate
    self._adam.step()
    self._adam.zero_grad(set_to_none=True)
    self.step += 1
    return loss.item()

  def save(self) -> messages.ProxyState:
    """Returns a copy of everything learned, optimiser included."""
    arrays = {}
    for name, weight in self.parameters.items():
      arrays[f'lora/{name}'] = _to_numpy(weight)
      for moment in _MOMENTS:
        # Before its first step Adam has no moments; zero is where they start.
        kept = self._adam.state[weight].get(moment)
        kept = torch.zeros_like(weight) if kept is None else kept
        arrays[f'{moment}/{name}'] = _to_numpy(kept)
    return messages.ProxyState(self.step, arrays)

  def restore(self, state: messages.ProxyState) -> None:
    """Goes back to what `save` returned, bit for bit.

    Raises:
      UserError: the state is of a proxy with other layers or another rank.
    """
    # Everything is checked before anything is changed.
    self._check(state)
    # A new one, so that nothing of the optimiser before is left in it.
    self._adam = self._new_adam()
    for name, weight in self.parameters.items():
      # Copied, since arrays from Ray are read-only and Adam writes into these.
      weight.data.copy_(torch.from_numpy(state.arrays[f'lora/{name}'].copy()))
      self._adam.state[weight] = {
        # Adam's own count, which corrects the bias of its moments: one step
        # of Adam is one fit, so it is not saved a second time.
        'step': torch.tensor(float(state.step)),
        **{
          moment: torch.from_numpy(state.arrays[f'{moment}/{name}'].copy()).to(
            weight.device
          )
          for moment in _MOMENTS
        },
      }
    self.step = state.step

  def _check(self, state: messages.ProxyState) -> None:
    shapes = {
      f'{kind}/{name}': tuple(weight.shape)
      for name, weight in self.parameters.items()
      for kind in ('lora', *_MOMENTS)
    }
    given = {name: tuple(array.shape) for name, array in state.arrays.items()}
    if shapes != given:
      name = min(
        key
        for key in shapes.keys() | given.keys()
        if shapes.get(key) != given.get(key)
      )
      raise errors.UserError(
        f'proxy state is of another proxy: {name} has shape '
        f'{given.get(name, "none")}, expected {shapes.get(name, "none")}.'
      )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
  return tensor.detach().to('cpu', copy=True).numpy()
