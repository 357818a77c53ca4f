import functools
import pathlib

import jax
import numpy as np
import pytest

from mmdist.nerf import field
from mmdist.nerf import pretrained
from tests.end_to_end import launching
from tests.priors import tiny


@pytest.fixture(name='trained', scope='module')
def fixture_trained(tmp_path_factory) -> pathlib.Path:
  """Writes a random NeRF and two random priors; returns their folder."""
  folder = tmp_path_factory.mktemp('trained')
  init = jax.jit(field.conditional_nerf(launching.NERF).init)
  params = init(jax.random.key(0))
  codes = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  pretrained.save(folder / 'nerf', launching.NERF, params, codes)
  tiny.write_pipeline(folder / 'color', seed=1)
  tiny.write_pipeline(folder / 'normal', seed=2)
  return folder


@pytest.fixture(name='here')
def fixture_here(capfd, monkeypatch):
  """Runs the launcher in this process; see `launching.call_here`."""
  return functools.partial(launching.call_here, capfd, monkeypatch)
