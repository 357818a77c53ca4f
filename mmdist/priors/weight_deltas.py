"""What an adapter makes of a weight: the formulas of LoRA and its relatives.

Each is computed from the frozen weight alone, in float32. So what several
adapters change is a sum, whose order means nothing.

  LoRA      W + a/r B A                        Hu et al. 2021
  LoCon     the same of convolutions, as a chain of them; with a kernel of its
            own in the middle (lora_mid), as a Tucker product
  LoHa      W + a/r (A1 B1) * (A2 B2), elementwise   Hyeon-Woo et al. 2022
  LoKr      W + a/r kron(W1, W2)               Yeh et al. 2024
  DoRA      m (W + dW) / |W + dW|, with a learned length m of each row
            (Liu et al. 2024), or column, as older LyCORIS files have it
"""

from collections.abc import Mapping
import dataclasses

import torch

from mmdist.priors import adapter_keys


class Misfit(ValueError):
  """The parts of a layer do not fit it; in words, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Scaling:
  """How strong a layer's change is, where the file is silent about it.

  Attributes:
    alpha: in alpha / rank; None is the rank itself, so a factor of 1.
    rank: where the parts do not say it, as of a LoKr of whole matrices.
    rank_stabilised: alpha / sqrt(rank) instead (rsLoRA).
  """

  alpha: float | None = None
  rank: int | None = None
  rank_stabilised: bool = False

  def factor(
    self, parts: Mapping[str, torch.Tensor], rank: int | None
  ) -> float:
    """Returns alpha / rank; the alpha of the layer itself counts first."""
    alpha, rank = self.alpha, rank or self.rank
    if 'alpha' in parts:
      alpha = float(parts['alpha'].float().reshape(()))
    if alpha is None or not rank:
      return 1.0
    return alpha / (rank**0.5 if self.rank_stabilised else rank)


def weight_delta(
  parts: Mapping[str, torch.Tensor], weight: torch.Tensor, scaling: Scaling
) -> torch.Tensor | None:
  """Returns what an adapter adds to a weight.

  Args:
    parts: of a layer, by their names in `adapter_keys`.
    weight: [out, in, ...] float32, frozen.
    scaling: of the file.

  Returns:
    As `weight`; None if the layer's weight stays as it is.

  Raises:
    Misfit: the parts have other shapes, or are not finite.
  """
  parts = {name: tensor.float() for name, tensor in parts.items()}
  kinds = adapter_keys.kinds_of(parts)
  if not kinds:
    return None
  try:
    delta, rank = _PRODUCTS[kinds[0]](parts)
  except (RuntimeError, IndexError, TypeError, ValueError) as error:
    raise Misfit(f'its parts of {_shapes(parts)} do not go together') from error
  delta = _in_shape(delta, weight, parts)
  if 'diff' not in parts:  # It is whole, and has no strength of its own.
    delta = delta * scaling.factor(parts, rank)
  moved = weight + delta
  if not moved.isfinite().all():
    raise Misfit('NaN or infinity is in it')
  length = parts.get('magnitude', parts.get('dora_scale'))
  if length is None:
    return delta
  if 'embedding_down' in parts:
    raise Misfit('it has DoRA magnitudes of an embedding, which are not read')
  return _decompose(moved, length, 'magnitude' in parts) - weight


def bias_delta(
  parts: Mapping[str, torch.Tensor], scaling: Scaling
) -> torch.Tensor | None:
  """Returns what an adapter adds to a bias [out]; None if nothing."""
  if 'diff_b' in parts:
    return parts['diff_b'].float()
  if 'up_bias' in parts:
    factor = scaling.factor(parts, len(parts['down']))
    return parts['up_bias'].float() * factor
  return None


Parts = Mapping[str, torch.Tensor]
Product = tuple[torch.Tensor, int | None]


def _lora(parts: Parts) -> Product:
  down, up = parts['down'], parts['up']
  rank = len(down)
  if 'mid' in parts:
    up = up.flatten(1)
    # [out, p] [p, q, kh, kw] [q, in]
    delta = torch.einsum('op,pqkl,qi->oikl', up, parts['mid'], down.flatten(1))
    return delta, rank
  if up.ndim == 4 and up.shape[2:] != (1, 1):
    raise ValueError  # A kernel on the way up, which nobody defines.
  if up.flatten(1).shape[1] != rank:
    raise ValueError
  delta = up.flatten(1) @ down.flatten(1)
  return delta.reshape(len(up), *down.shape[1:]), rank


def _embedding(parts: Parts) -> Product:
  down, up = parts['embedding_down'], parts['embedding_up']
  return (up @ down).T, len(down)


def _loha(parts: Parts) -> Product:
  first, second = [_pair(parts, f'hada_w{n}', f'hada_t{n}') for n in '12']
  if first.shape != second.shape:
    raise ValueError  # One row or column would be taken for all of them.
  return first * second, len(parts['hada_w1_b'])


def _lokr(parts: Parts) -> Product:
  factors = [
    parts[f'lokr_w{n}']
    if f'lokr_w{n}' in parts
    else _pair(parts, f'lokr_w{n}', f'lokr_t{n}')
    for n in '12'
  ]
  first, second = factors
  first = first.reshape(*first.shape, *(1,) * (second.ndim - first.ndim))
  # Whole matrices have no rank, and no alpha counts.
  pairs = [parts[f'lokr_w{n}_b'] for n in '12' if f'lokr_w{n}_b' in parts]
  delta = torch.kron(first.contiguous(), second.contiguous())
  return delta, len(pairs[0]) if pairs else None


def _pair(parts: Parts, name: str, core: str) -> torch.Tensor:
  """Returns the product of two parts, with a core between them or without."""
  left, right = parts[f'{name}_a'], parts[f'{name}_b']
  if core not in parts:
    return left @ right
  # [p, q, kh, kw] [p, out] [q, in]
  return torch.einsum('pqkl,po,qi->oikl', parts[core], left, right)


def _difference(parts: Parts) -> Product:
  return parts['diff'], None


_PRODUCTS = {
  'LoRA': _lora,
  'LoRA of an embedding': _embedding,
  'LoHa': _loha,
  'LoKr': _lokr,
  'a full difference': _difference,
}


def _in_shape(
  delta: torch.Tensor, weight: torch.Tensor, parts: Parts
) -> torch.Tensor:
  """Returns a change in its weight's shape: kernels may have been flattened."""
  if delta.shape == weight.shape:
    return delta
  same_rows = delta.shape[:1] == weight.shape[:1]
  if not same_rows or delta.numel() != weight.numel():
    raise Misfit(
      f'the layer has a weight of {list(weight.shape)}, and its change is '
      f'{list(delta.shape)} ({_shapes(parts)})'
    )
  return delta.reshape(weight.shape)


def _decompose(
  moved: torch.Tensor, length: torch.Tensor, is_of_rows: bool
) -> torch.Tensor:
  """Returns W + dW with the lengths that DoRA has learned.

  Args:
    moved: W + dW.
    length: PEFT's vector, of rows; or LyCORIS' matrix, of which one dimension
      has all numbers.
    is_of_rows: whether it is PEFT's.
  """
  rows, columns = moved.shape[:2]
  numbers = length.numel()
  of_rows = is_of_rows or length.ndim < 2 or len(length) == numbers == rows
  if of_rows and numbers == rows:
    norm = moved.flatten(1).norm(dim=1)
    shape = (rows, *(1,) * (moved.ndim - 1))
  elif not of_rows and numbers == columns and length.shape[1] == columns:
    norm = moved.transpose(0, 1).flatten(1).norm(dim=1)
    shape = (1, columns, *(1,) * (moved.ndim - 2))
  else:
    raise Misfit(
      f'the layer has a weight of {list(moved.shape)}, and its DoRA magnitudes '
      f'are {list(length.shape)}'
    )
  scaled = moved * (length.flatten() / norm).reshape(shape)
  if not scaled.isfinite().all():
    raise Misfit('its DoRA magnitudes give NaN or infinity')
  return scaled


def _shapes(parts: Parts) -> str:
  return ', '.join(f'{name} {list(t.shape)}' for name, t in parts.items())
