"""Skips where JAX or torch has no GPU; `make gpu-check` runs what is here."""

import jax
import pytest
import torch


@pytest.fixture(autouse=True)
def gpu():
  if jax.default_backend() != 'gpu':
    pytest.skip('JAX finds no GPU')
  if not torch.cuda.is_available():
    pytest.skip('torch finds no GPU')
