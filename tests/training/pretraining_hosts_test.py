"""A pretraining on two hosts that goes on on one, against one on one host."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from tests.data import small_sets
from tests.learner import hosts_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
import pathlib, sys
from mmdist.core import errors
from mmdist.learner import pretrain
from mmdist.training import pretraining
from tests.core import compiling
from tests.nerf import tiny_nerf
data, out, stops_after, hosts = sys.argv[1:]
save = pretraining.pretrain_checkpoint.save

def save_and_stop(path, state, *rest):
  save(path, state, *rest)
  if int(state.step) == int(stops_after):
    raise errors.UserError('stopped')

pretraining.pretrain_checkpoint.save = save_and_stop
config = pretrain.PretrainConfig(
  nerf=tiny_nerf.CONFIG, num_unseen_subjects=1, num_steps=6,
  batch_size=16, chunk_size=4, num_devices=1, num_code_steps=1,
  num_warmup_steps=1, checkpoint_every=2, num_hosts=int(hosts),
)
try:
  with compiling.in_a_hurry():
    pretraining.pretrain(config, pretraining.Options(out, data), print)
except errors.UserError as error:
  sys.exit(f'error: {error}')
"""


def start(data, out, stops_after: int, hosts: int) -> list[subprocess.Popen]:
  port = hosts_test.free_port()
  return [
    subprocess.Popen(
      [
        sys.executable,
        '-c',
        PROGRAM,
        data,
        str(out),
        str(stops_after),
        str(hosts),
      ],
      cwd=ROOT,
      env=os.environ
      | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}
      | ({'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}'} if hosts > 1 else {})
      | {'JAX_PROCESS_ID': str(rank)},
      stderr=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    for rank in range(hosts)
  ]


@pytest.mark.slow
def test_hosts_train_alike_and_one_goes_on_alone(tmp_path):
  data = str(small_sets.write(tmp_path / 'data', num_subjects=3, num_cameras=3))
  whole, parted = tmp_path / 'whole', tmp_path / 'parted'
  both = start(data, parted, 4, 2)
  alone = start(data, whole, 0, 1)
  said = [p.communicate(timeout=hosts_test.WITHIN_S) for p in both + alone]
  assert [both[0].returncode, alone[0].returncode] == [1, 0], said
  assert said[0][1].endswith('error: stopped\n')
  assert both[1].returncode  # It does not wait for host 0, which is gone.
  assert 'psnr' in said[0][0] and 'psnr' not in said[1][0]
  (again,) = start(data, parted, 0, 1)
  said = again.communicate(timeout=hosts_test.WITHIN_S)
  assert again.returncode == 0, said[1]
  assert 'goes on from step 4' in said[0]
  assert 'waiting for pixels' in said[0]
  ends = [
    safetensors.numpy.load_file(folder / 'training.safetensors')
    for folder in (whole, parted)
  ]
  for name in ends[0]:
    np.testing.assert_allclose(ends[1][name], ends[0][name], atol=2e-4)


@pytest.mark.slow
def test_hosts_that_nobody_numbers_are_refused(tmp_path):
  code = PROGRAM.replace('num_hosts=int(hosts)', 'num_hosts=2')
  cleared = {
    k: v for k, v in os.environ.items() if k != 'JAX_COORDINATOR_ADDRESS'
  }
  done = subprocess.run(
    [sys.executable, '-c', code, '', str(tmp_path / 'out'), '2', '2'],
    cwd=ROOT,
    env=cleared | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1
  assert done.stderr.startswith('error: num_hosts=2, and the environment')
  assert not (tmp_path / 'out').exists()
