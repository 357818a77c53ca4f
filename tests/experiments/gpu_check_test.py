"""The GPU check, as far as a machine without one can run it."""

import dataclasses
import importlib
import json
import pathlib
import subprocess
import sys
import time

import diffusers
import jax
import jax.numpy as jnp
import pytest
import transformers

from experiments.benchmarks import gpu_check
from experiments.benchmarks import gpu_flops
from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_keeping
from experiments.benchmarks import gpu_learner
from experiments.benchmarks import gpu_models
from experiments.benchmarks import gpu_pretraining
from experiments.benchmarks import gpu_priors
from experiments.benchmarks import gpu_sharing
from experiments.benchmarks import gpu_tests
from mmdist.priors import families


@pytest.fixture(name='job')
def fixture_job(tmp_path):
  end = time.monotonic() + 60
  return gpu_job.Job(tmp_path / 'rows', tmp_path, end, tiny=True)


@pytest.mark.slow
def test_a_part_that_hangs_or_breaks_takes_no_other_with_it(
  tmp_path, monkeypatch, capsys
):
  # Each part is a program here, so that none imports what it would measure.
  programs = {
    'hangs': 'import time; time.sleep(60)',
    'breaks': 'raise ValueError("the reason")',
    'works': 'pass',
  }

  def start(command, **options):
    name = command[3].removeprefix('--child=')
    folder = pathlib.Path(command[4].removeprefix('--folder='))
    gpu_job.Job(folder / f'{name}.jsonl', folder, 0).add('of ' + name, {'a': 1})
    return popen([sys.executable, '-c', programs[name]], **options)

  popen = subprocess.Popen
  parts = {name: gpu_check.Part('nowhere:nothing', 6) for name in programs}
  monkeypatch.setattr(gpu_check, 'PARTS', parts)
  monkeypatch.setattr(gpu_check, 'title', lambda: ['# A title'])
  monkeypatch.setattr(gpu_check.subprocess, 'Popen', start)
  out = tmp_path / 'gpu.md'
  tables = gpu_check.check(list(programs), 100, out, tiny=True)
  hangs, breaks, works = tables['parts']
  assert hangs['ended'] == 'killed after 6 s'
  assert breaks['ended'] == 'exit 1'
  assert 'ValueError: the reason' in breaks['last words']
  assert works['ended'] == 'well'
  # What each had measured before is there.
  assert {f'of {name}' for name in programs} <= set(tables)
  assert (
    '| works |' in out.read_text() and '# A title' in capsys.readouterr().out
  )
  assert json.loads(out.with_suffix('.json').read_text())['tables'] == tables


def test_a_part_that_does_not_exist_is_one_line(capsys):
  assert gpu_check.main(['--parts=learner,prior']) == 1
  assert "no part is called 'prior'" in capsys.readouterr().err


def test_what_fails_leaves_a_row_and_what_comes_too_late_is_not_begun(job):
  def fail():
    raise RuntimeError('out of memory\nand much more')

  assert job.attempt('table', {'size': 1}, fail) is None
  job.attempt('table', {'size': 2}, lambda: {'seconds': 0.5})
  job.attempt('table', {'size': 3}, fail, needs_s=1000)
  rows = gpu_job.read_rows(job.rows)['table']
  assert [row.get('error') for row in rows] == [
    'RuntimeError: out of memory',
    None,
    'no time left',
  ]
  text = gpu_job.to_markdown(['title'], {'table': rows})
  assert '| size | error | seconds |' in text
  assert '| 2 |  | 0.5 |' in text


def test_products_in_loops_are_counted_as_often_as_they_run():
  def program(x, y):
    step = jax.jit(lambda carry, _: (carry @ y, None))
    return jax.lax.scan(step, x, None, length=7)[0] @ y

  x, y = jnp.zeros((3, 5)), jnp.zeros((5, 5))
  assert gpu_flops.count(program, x, y) == 8 * 2 * 3 * 5 * 5


@pytest.mark.slow
def test_the_learner_is_measured(job):
  setting = gpu_learner.Setting('tiny', gpu_learner.TINY, 4, 1, 16)
  found = gpu_learner.time_passes(setting, {'default': 1e12}, lambda: 60)
  assert found['render_s'] > 0 and found['vjp_s'] > 0
  assert 0 < found['share_of_default'] < 1
  # The trunk alone, with its two layers, in the render.
  assert found['tflop'] * 1e12 > 16 * 8 * 2 * 16 * 16


@pytest.mark.slow
def test_priors_of_random_weights_are_measured(job):
  gpu_priors.measure(job)
  tables = gpu_job.read_rows(job.rows)
  assert len(tables['priors: alone']) == 4
  assert all(row['fit_s'] > 0 for row in tables['priors: alone'])


@pytest.mark.parametrize(
  'kind, parameters, size', [('sd15', 860e6, 512), ('sdxl', 2567e6, 1024)]
)
def test_random_models_are_of_the_sizes_that_are_known(
  kind, parameters, size, tmp_path, monkeypatch
):
  saved = {}

  def note(module, directory, **_):
    saved[directory.name] = sum(p.numel() for p in module.parameters())
    directory.mkdir(parents=True)
    if isinstance(module, diffusers.ModelMixin):
      module.save_config(directory)
    else:
      module.config.architectures = [type(module).__name__]
      module.config.save_pretrained(directory)

  for owner in (diffusers.ModelMixin, transformers.PreTrainedModel):
    monkeypatch.setattr(owner, 'save_pretrained', note)
  gpu_models.write(kind, tmp_path / kind, 'meta')
  assert saved['unet'] == pytest.approx(parameters, rel=1e-3)
  family = families.read_family(tmp_path / kind)
  assert family.image_size == size


@pytest.mark.slow
def test_kept_chunks_are_measured_and_a_case_that_fails_ends_no_other(job):
  gpu_keeping._attempt(job, 16, 5)  # Of the view's 4 chunks.
  gpu_keeping.measure(job)
  fails, *rows = gpu_job.read_rows(job.rows)[gpu_keeping.TABLE]
  assert 'num_kept_chunks is 5; expected at most 4' in fails['error']
  assert [row['kept'] for row in rows] == [0, 1, 4]
  assert all(row['step_s'] > 0 for row in rows)
  estimates = [row['estimated_gib'] for row in rows]
  assert estimates == sorted(estimates)


@pytest.mark.slow
def test_steps_with_two_priors_are_measured(job):
  gpu_sharing.measure_steps(job)
  (row,) = gpu_job.read_rows(job.rows)['steps']
  assert (row['priors'], row['steps']) == (2, 2)
  assert row['minutes_per_1000'] == pytest.approx(1000 * row['step_s'] / 60)
  assert row['step_s'] > row['scores_s'] > 0 < row['fits_s']


@pytest.mark.slow
def test_steps_of_a_pretraining_are_measured(job):
  gpu_pretraining.measure(job)
  tables = gpu_job.read_rows(job.rows)
  sizes = [row['bytes_per_ray'] for row in tables['pretraining: drawing']]
  assert sizes == [92, 20]
  (row,) = tables['pretraining: steps']
  assert row['million_rays_per_s'] == pytest.approx(64e-3 / row['step_ms'])
  assert row['step_ms'] >= row['waiting_for_pixels_ms'] >= 0


def test_every_part_is_there():
  for part in gpu_check.PARTS.values():
    module, function = part.place.split(':')
    found = importlib.import_module(f'experiments.benchmarks.{module}')
    assert callable(getattr(found, function))


_TESTS = """
import time
import pytest

def test_that_measures(record_property):
  record_property('deviation', '1e-3')

def test_that_fails():
  assert 1 == 2

def test_that_is_left_out():
  pytest.skip('no GPU')

def test_that_hangs():
  time.sleep(60)
"""


@pytest.mark.slow
def test_each_test_has_a_row_also_where_they_do_not_end(job, tmp_path):
  (tmp_path / 'some_test.py').write_text(_TESTS)
  soon = dataclasses.replace(job, end=time.monotonic() + 14)
  gpu_tests.measure(soon, [str(tmp_path / 'some_test.py')])
  rows = gpu_job.read_rows(job.rows)[gpu_tests.TABLE]
  assert [row['outcome'] for row in rows] == [
    'passed',
    'failed',
    'skipped',
    'did not end in time',
  ]
  assert rows[0]['test'].endswith('::test_that_measures')
  assert rows[0]['measured'] == 'deviation 1e-3'
  assert 'some_test.py:9: ' in rows[1]['why'] and '1 == 2' in rows[1]['why']
  assert rows[2]['why'] == 'Skipped: no GPU'
