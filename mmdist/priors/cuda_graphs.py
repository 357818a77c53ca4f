"""Passes of a network that a GPU plays back, instead of Python asking for each.

A pass of Stable Diffusion is thousands of kernels of microseconds, each of
which Python takes longer to ask for than the GPU to compute. CUDA can record
them once and play the recording, which the CPU starts with one call. What is
played is what was recorded: the same kernels on the same addresses. So inputs
are copied to where the recording finds them, and weights may only change in
place, as those of a proxy do.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

Tensors = Sequence[torch.Tensor | None]

# Passes before the recording, in which libraries choose their kernels and
# allocate what they need; CUDA records none of that.
_NUM_WARM_UPS = 2


class Recording:
  """One function of tensors, recorded on a GPU.

  Args:
    function: returns tensors that follow from its arguments, of the same
      shapes each time, without asking the CPU for a number.
    inputs: of the shapes that it is recorded for.
  """

  def __init__(
    self, function: Callable[..., Sequence[torch.Tensor]], inputs: Tensors
  ):
    self._inputs = [None if one is None else one.clone() for one in inputs]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
      for _ in range(_NUM_WARM_UPS):
        function(*self._inputs)
    torch.cuda.current_stream().wait_stream(stream)
    self._graph = torch.cuda.CUDAGraph()
    # Other threads, such as JAX's, may allocate meanwhile.
    with torch.cuda.graph(self._graph, capture_error_mode='thread_local'):
      self._outputs = function(*self._inputs)

  def play(self, inputs: Tensors) -> list[torch.Tensor]:
    """Returns what the function would; the tensors are the caller's."""
    for place, value in zip(self._inputs, inputs, strict=True):
      if place is not None and value is not None:
        place.copy_(value)
    self._graph.replay()
    return [output.clone() for output in self._outputs]


class Recordings:
  """Recordings of some functions, by their names and the shapes of inputs.

  Args:
    record: makes one; tests that have no GPU hand over another.
  """

  def __init__(self, record: Callable[..., Any] = Recording):
    self._record = record
    self._known: dict[Hashable, Any] = {}

  def run(
    self,
    name: str,
    function: Callable[..., Sequence[torch.Tensor]],
    inputs: Tensors,
  ) -> list[torch.Tensor]:
    """Returns what `function` returns for inputs.

    Args:
      name: names what is computed: a function of the same name is taken to be
        the one that was recorded, whatever it closes over.
      function, inputs: see `Recording`.
    """
    key = (
      name,
      *(None if one is None else (*one.shape, one.dtype) for one in inputs),
    )
    # The first answer is played, too: a resumed run records again, and its
    # first answer has to be that of a run that was not stopped.
    if key not in self._known:
      self._known[key] = self._record(function, inputs)
    played: list[torch.Tensor] = self._known[key].play(inputs)
    return played
