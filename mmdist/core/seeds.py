"""Every random draw of a run is a function of (seed, step, purpose).

Nothing keeps a generator across steps, so a resumed run draws what the
uninterrupted one would have drawn.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  import jax


def derive_seed(seed: int, step: int, purpose: str) -> int:
  """Returns a 63-bit seed, equal on every machine and Python version."""
  digest = hashlib.sha256(f'{seed}/{step}/{purpose}'.encode()).digest()
  return int.from_bytes(digest[:8], 'little') >> 1


def generator(seed: int, step: int, purpose: str) -> np.random.Generator:
  """Returns numpy's generator for one purpose at one step."""
  return np.random.default_rng(derive_seed(seed, step, purpose))


def jax_key(seed: int, step: int, purpose: str) -> 'jax.Array':
  """Returns a JAX key for one purpose at one step."""
  import jax  # Here, so that a prior's process can derive seeds without JAX.

  return jax.random.key(derive_seed(seed, step, purpose) % (1 << 32))
