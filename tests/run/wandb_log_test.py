"""What wandb is sent, by a stand-in; and the real one offline, where it is."""

import importlib.util
import sys
import types

import numpy as np
import pytest

from mmdist.config import schema
from mmdist.run import reporting
from mmdist.run import wandb_log
from tests.learner import tiny_field


def make_run(project='heads', **results):
  return schema.RunConfig(
    num_steps=3,
    results=schema.ResultsConfig(preview_every=0, wandb=project, **results),
  )


class FakeWandb(types.ModuleType):
  """Keeps what a run of wandb is told."""

  def __init__(self):
    super().__init__('wandb')
    # `find_spec` asks a module that is imported for it.
    self.__spec__ = importlib.util.spec_from_loader('wandb', loader=None)
    self.Image = lambda picture: ('image', picture.shape)
    self.options, self.rows, self.is_finished = {}, [], False

  def init(self, **options):
    self.options = options
    return types.SimpleNamespace(
      log=self.rows.append,
      finish=lambda: setattr(self, 'is_finished', True),
      define_metric=lambda name, step_metric: None,
    )


@pytest.fixture
def fake(monkeypatch):
  module = FakeWandb()
  monkeypatch.setitem(sys.modules, 'wandb', module)
  return module


def test_every_step_of_a_run_is_sent(fake, tmp_path):
  run, workdir = make_run(), tmp_path / 'green'
  workdir.mkdir()
  with reporting.Reporter(workdir, run, tiny_field.tiny_field()) as report:
    report.begin(0)
    for step in (0, 1, 1):  # The second is taken again.
      report.step(step, {}, {'loss': 0.5 + step})
  assert [(r['step'], r['loss']) for r in fake.rows] == [
    (0, 0.5),
    (1, 1.5),
    (1, 1.5),
  ]
  assert fake.options['project'] == 'heads'
  assert fake.options['group'] == 'green'
  assert fake.options['config']['num_steps'] == 3
  assert fake.is_finished


def test_a_preview_is_sent_as_a_picture(fake, tmp_path):
  log = wandb_log.WandbLog(tmp_path, make_run())
  log.add_picture(7, 'preview', np.zeros((4, 6, 3), np.uint8))
  assert fake.rows == [{'step': 7, 'preview': ('image', (4, 6, 3))}]


def test_where_nobody_asks_wandb_is_never_imported(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  run = make_run('')
  wandb_log.check(run)
  with reporting.Reporter(tmp_path, run, tiny_field.tiny_field()) as report:
    report.begin(0)
    report.step(0, {}, {'loss': 0.5})


def test_without_the_package_it_is_a_line_before_anything_begins(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(
    ValueError, match=r'the extra \[wandb\].*pip install wandb'
  ):
    wandb_log.check(make_run())


@pytest.mark.slow
def test_the_real_one_works_offline(tmp_path, monkeypatch):
  pytest.importorskip('wandb', reason='wandb is an extra: pip install wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  log = wandb_log.WandbLog(tmp_path, make_run())
  log.add_scalars(0, {'loss': 1.0, 'share/generic/0': 0.5})
  log.add_picture(0, 'preview', np.zeros((4, 6, 3), np.uint8))
  log.close()
  (written,) = (tmp_path / 'wandb').glob('offline-run-*/run-*.wandb')
  assert written.stat().st_size > 0
