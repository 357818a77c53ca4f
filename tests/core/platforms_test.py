import importlib.util

import pytest

from mmdist.core import platforms


@pytest.mark.parametrize(
  'variable, installed, expected',
  [
    ('', (), True),
    ('', ('libtpu',), False),
    ('', ('jax_cuda13_plugin',), False),
    ('cpu', ('jax_cuda13_plugin',), True),
    ('cuda,cpu', (), False),
  ],
)
def test_what_jax_will_compute_on(variable, installed, expected, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', variable)
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name: name in installed
  )
  assert platforms.is_cpu() is expected
