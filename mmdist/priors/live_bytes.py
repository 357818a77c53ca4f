"""How many bytes of tensors live at a time while a network runs.

Owns counting on PyTorch's meta device, where tensors have shapes and no
numbers, so that nothing of what is counted is ever allocated.
"""

from collections.abc import Callable
from typing import Any
import weakref

import torch
from torch import overrides
from torch.nn import functional
from torch.utils import _python_dispatch as python_dispatch
from torch.utils import _pytree as pytree


def peak(run: Callable[[], object]) -> int:
  """Returns the most bytes that live at a time of what `run` makes.

  Nothing is kept for a backward pass. Inputs and weights are not counted.

  Args:
    run: runs a network on the meta device.
  """
  with torch.no_grad(), _FusedAttention(), _Live() as live:
    run()
  return live.peak


class _Live(python_dispatch.TorchDispatchMode):
  """Sees every tensor that an operation makes, and when it is freed."""

  def __init__(self) -> None:
    super().__init__()
    self.peak = 0
    self._now = 0
    self._known: set[int] = set()

  def __torch_dispatch__(
    self,
    func: Any,
    types: Any,
    args: tuple = (),
    kwargs: dict[str, Any] | None = None,
  ) -> Any:
    made = func(*args, **(kwargs or {}))
    given = {_storage_of(t) for t in _tensors_in((args, kwargs))}
    for tensor in _tensors_in(made):
      # A view has the storage of what it shows.
      if _storage_of(tensor) not in given | self._known:
        self._add(tensor.untyped_storage())
    return made

  def _add(self, storage: torch.UntypedStorage) -> None:
    key, size = storage._cdata, storage.nbytes()
    self._known.add(key)
    self._now += size
    self.peak = max(self.peak, self._now)

    def remove() -> None:
      self._known.remove(key)
      self._now -= size

    weakref.finalize(storage, remove)


class _FusedAttention(overrides.TorchFunctionMode):
  """Has attention make its result alone, as torch's kernels do.

  On the meta device there is no such kernel, and the matrix of all pairs of
  tokens would be counted, which is most of the memory where there are many.
  """

  def __torch_function__(
    self,
    func: Any,
    types: Any,
    args: tuple = (),
    kwargs: dict[str, Any] | None = None,
  ) -> Any:
    if func is functional.scaled_dot_product_attention:
      named = dict(zip(('query', 'key', 'value'), args)) | (kwargs or {})
      query, value = named['query'], named['value']
      return query.new_empty(*query.shape[:-1], value.shape[-1])
    return func(*args, **(kwargs or {}))


def _tensors_in(tree: Any) -> list[torch.Tensor]:
  return [x for x in pytree.tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _storage_of(tensor: torch.Tensor) -> int:
  return tensor.untyped_storage()._cdata
