"""`mmdist.optimize` with a field and priors of a few lines."""

import dataclasses
import json
import pathlib
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import ray

import mmdist
from mmdist.api import composing
from mmdist.api import optimization
from mmdist.api import preparing
from mmdist.core import messages
from mmdist.distribution import faults
from mmdist.distribution import tokens
from mmdist.learner import learner_memory
from mmdist.priors import footprint
from mmdist.priors import prior as priors
from mmdist.run import memory_estimate
from mmdist.run import wandb_log
from mmdist.run import workdir as workdir_lib
from tests.learner import tiny_field
from tests.priors import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = np.float32([0.9, 0.2, 0.1])


@dataclasses.dataclass(frozen=True)
class Ball:
  """A representation of one's own: the tiny field, with a density."""

  init = staticmethod(tiny_field.init)
  render = staticmethod(tiny_field.render)

  @staticmethod
  def density(params, points):
    return 20 * tiny_field._density(params, points)


BALL = Ball()


def paint(request: mmdist.ScoreRequest) -> np.ndarray:
  """Wants every pixel TARGET."""
  difference = request.images - TARGET
  return difference / difference.size


class Painter:
  """As `paint`, with the methods of a prior."""

  channel = 'rgb'

  def __init__(self):
    self.step = 0

  def score(self, request):
    return mmdist.ScoreGradient(
      step=request.step,
      prior='red',
      channel='rgb',
      cotangent=paint(request),
      proxy_step=self.step,
      metrics={},
    )

  def fit(self):
    self.step += 1
    return {}

  def save_proxy(self):
    return messages.ProxyState(self.step, {})

  def restore_proxy(self, state):
    self.step = state.step


def small(num_steps: int = 4, **fields) -> mmdist.RunConfig:
  config = mmdist.RunConfig(num_steps=num_steps, **fields)
  config.views.num_views, config.views.resolution = 2, 8
  config.learner.learning_rate = 0.05
  config.checkpoints.every = 2
  config.results.preview_every = 0
  config.results.turntable_views = 2
  config.results.resolution = config.results.mesh_resolution = 16
  config.results.texture_size = 64
  return config


def make(workdir, what='a red ball', prior=paint, **options) -> mmdist.Run:
  options = {
    'config': small(),
    'priors': {'red': prior},
    'representation': BALL,
    'executor': 'inline',
  } | options
  return mmdist.optimize(what, workdir, **options)


def test_a_representation_and_a_prior_of_ones_own_are_passed(tmp_path):
  run = make(tmp_path / 'run')
  assert (run.step, run.is_finished) == (4, True)
  assert set(run.results) == {
    'video',
    'animation',
    'sheet',
    'mesh',
    'mesh_page',
    'report',
  }
  config = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert config['prompt'] == 'a red ball'
  assert config['nerf_assets'].endswith('Ball')
  assert config['priors']['red']['directory'].endswith('.paint')
  assert [row['step'] for row in run.metrics] == [0, 1, 2, 3]


def test_a_function_does_what_an_object_does(tmp_path):
  one = make(tmp_path / 'one')
  other = make(tmp_path / 'other', prior=Painter())
  # Not bit for bit: here JAX has as many threads as it likes.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
    one.params,
    other.params,
  )


def test_the_renders_become_what_the_prior_wants(tmp_path):
  config = small(40)
  config.learner.opacity_weight = config.learner.regularizer_weight = 0.0
  losses = [
    row['loss'] for row in make(tmp_path / 'run', config=config).metrics
  ]
  assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_too_many_concepts_are_refused_before_a_prior_loads(
  tmp_path, monkeypatch
):
  directory = tiny.write_pipeline(tmp_path / 'prior')
  prior = mmdist.Prior(
    str(directory), proxy_per='concept', dtype='float32', device='cpu'
  )
  config = small()
  config.views.use_view_words = False
  one = mmdist.avatar('a happy man')
  many = sum((mmdist.avatar(f'a {w} hat') for w in ('red', 'green')), one)
  spec = tiny.spec(directory, proxy_per='concept')
  enough = footprint.estimate(spec, 2, 1).total
  assert enough < footprint.estimate(spec, 2, 3).total
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: enough)
  nothing = learner_memory.LearnerMemory(0, 0, 0)
  monkeypatch.setattr(learner_memory, 'estimate', lambda *_, **__: nothing)
  with pytest.raises(mmdist.errors.UserError, match='and the priors red need'):
    make(tmp_path / 'run', many, prior, config=config)
  assert not (tmp_path / 'run').exists()
  # One concept is let through, up to its loading.
  monkeypatch.setattr(priors, 'build', lambda spec: 1 / 0)
  with pytest.raises(faults.PriorFailed, match='division by zero'):
    make(tmp_path / 'run', one, prior, config=config)


def test_a_finished_run_is_opened_and_takes_no_step(tmp_path, capsys):
  first = make(tmp_path / 'run')
  digest = first.digest()
  again = make(tmp_path / 'run')
  assert 'is finished: 4 of 4 steps' in capsys.readouterr().out
  assert again.digest() == digest


def test_a_preflight_may_change_what_only_the_old_run_has(
  tmp_path, monkeypatch
):
  before, _ = composing.compose('a red ball', small(), {'red': paint}, BALL)
  workdir_lib.claim(tmp_path / 'run', before)
  config = small()
  config.views.emphasis = {}
  # And nothing of it is kept, so nothing is sent to where it would be.
  config.results.wandb = 'a project'
  monkeypatch.setattr(wandb_log, 'check', lambda run: None)
  monkeypatch.delattr(wandb_log, 'WandbLog')
  changed = [f'views.emphasis.{word}' for word in before.views.emphasis]
  seconds = optimization.preflight(
    'a red ball',
    tmp_path / 'run',
    config=config,
    priors={'red': paint},
    representation=BALL,
    executor='inline',
    may_change=['views.emphasis', *changed],
  )
  assert seconds > 0


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
  whole = make(tmp_path / 'whole').digest()

  def stop(step):
    if step.number == 3:
      step.stop()

  stopped = make(tmp_path / 'parts', on_step=stop)
  assert (stopped.step, stopped.is_finished) == (3, False)
  assert 'mesh' not in stopped.results
  assert make(tmp_path / 'parts').digest() == whole


def test_more_steps_warn_of_weights_that_jump(tmp_path):
  fading = mmdist.avatar('a red ball', schedule='linear(1, 0.5)')
  make(tmp_path / 'run', fading, config=small(3))
  with pytest.warns(UserWarning, match="that of 'a red ball' from 0.5 to 0.7"):
    run = make(
      tmp_path / 'run', fading, config=small(6), may_change=['num_steps']
    )
  weights = [row['weight/red/0'] for row in run.metrics]
  assert weights == pytest.approx([1, 0.75, 0.5, 0.7, 0.6, 0.5])


def test_on_step_is_told_every_step(tmp_path):
  told = []

  def on_step(step):
    told.append((step.number, step.metrics['loss']))
    if step.number == 2:
      told.append(step.preview().shape)

  make(tmp_path / 'run', on_step=on_step)
  assert [item[0] for item in told if len(item) == 2] == [1, 2, 3, 4]
  assert (192, 288, 3) in told


def test_a_callback_that_raises_leaves_the_run_saved(tmp_path):
  whole = make(tmp_path / 'whole').digest()

  def on_step(step):
    if step.number == 3:
      raise LookupError('mine')

  with pytest.raises(LookupError, match='mine'):
    make(tmp_path / 'parts', on_step=on_step)
  assert mmdist.open_run(tmp_path / 'parts').step == 3
  assert make(tmp_path / 'parts').digest() == whole


def test_an_objective_is_in_the_configuration_exactly(tmp_path):
  happy, sad = mmdist.avatar('happy'), mmdist.avatar('sad')
  objective = 0.6 * happy + 0.4 * sad - 0.1 * mmdist.avatar('green')
  run = make(tmp_path / 'run', objective, config=small(2))
  assert run.objective == objective
  assert mmdist.open_run(tmp_path / 'run').objective == objective


def test_ray_and_inline_make_the_same(tmp_path):
  inline = make(tmp_path / 'inline', config=small(2)).digest()
  running = make(tmp_path / 'ray', config=small(2), executor='ray').digest()
  assert running == inline


def test_without_ray_one_line_says_what_to_do():
  # In a process of its own: here another test may have imported Ray.
  program = (
    'import contextlib, sys\n'
    'sys.modules["ray"] = None\n'
    'from mmdist.api import executors\n'
    'from mmdist.core import errors\n'
    'try:\n'
    '  executors.start("ray", [], None, None, contextlib.ExitStack())\n'
    'except errors.UserError as error:\n'
    '  print(error)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, cwd=ROOT
  )
  assert "executor='ray' needs Ray" in done.stdout, done.stderr
  assert "executor='inline'" in done.stdout


@pytest.fixture(name='nowhere')
def fixture_nowhere(monkeypatch):
  """An executor of a cluster that is not there, in a process without Ray."""
  monkeypatch.setattr(tokens, '_started_with', [])
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))  # And does not listen.
    yield mmdist.RayOptions(f'127.0.0.1:{taken.getsockname()[1]}')


@pytest.mark.parametrize('begin', [mmdist.optimize, optimization.preflight])
def test_a_cluster_that_is_not_there_is_told_before_anything_is_looked_at(
  tmp_path, nowhere, begin, monkeypatch
):
  monkeypatch.setattr(preparing.binding, 'bind_config', None)
  began = time.monotonic()
  with pytest.raises(mmdist.errors.UserError, match='nobody answers') as error:
    begin('a red ball', tmp_path / 'run', executor=nowhere)
  assert time.monotonic() - began < 5
  assert '\n' not in str(error.value)
  assert not list(tmp_path.iterdir())


def test_a_finished_run_is_opened_without_its_cluster(tmp_path, nowhere):
  made = make(tmp_path / 'run')
  again = make(tmp_path / 'run', executor=nowhere)
  assert again.digest() == made.digest()


class Counting:
  """An executor of one's own, around the inline one."""

  def __init__(self, recipes):
    from mmdist.distribution import executor

    self._inner = executor.InlineExecutor(recipes)
    self.submitted = 0

  def submit(self, requests):
    self.submitted += 1
    return self._inner.submit(requests)

  def __getattr__(self, name):
    return getattr(self._inner, name)


def test_an_executor_of_ones_own_is_made_from_the_recipes(tmp_path):
  made = []

  def factory(recipes):
    made.append(Counting(recipes))
    return made[0]

  digest = make(tmp_path / 'mine', executor=factory).digest()
  assert made[0].submitted == 4
  assert digest == make(tmp_path / 'inline').digest()


@pytest.mark.parametrize(
  'options, message',
  [
    ({'executor': 'rai'}, "executor is 'rai'; did you mean 'ray'"),
    ({'what': 3}, 'what to make is int; expected a sentence'),
    ({'what': ''}, 'the prompt is empty'),
    ({'config': {'num_steps': 3}}, 'config is dict; expected an mmdist.RunCo'),
    ({'priors': {'red': 3}}, "prior 'red' is int; expected mmdist.Prior"),
    ({'priors': {}}, 'no prior is enabled'),
    ({'representation': object()}, 'the representation is object, which has'),
    (
      {'what': mmdist.avatar('x', priors=['blue'])},
      "concept 'x' asks prior 'blue', which is not running",
    ),
    (
      {'what': mmdist.avatar('x') - mmdist.avatar('x')},
      'the objective is empty',
    ),
  ],
)
def test_what_cannot_be_run_is_one_line_and_leaves_nothing(
  tmp_path, options, message
):
  with pytest.raises(mmdist.errors.UserError, match=message) as error:
    make(tmp_path / 'run', **options)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_half_a_prior_is_refused_by_what_it_lacks(tmp_path):
  class Half:
    def score(self, request):
      raise NotImplementedError

  with pytest.raises(mmdist.errors.UserError, match='has score, but no fit'):
    make(tmp_path / 'run', prior=Half())


def test_an_object_has_to_be_passed_again(tmp_path):
  make(tmp_path / 'run')
  config = mmdist.open_run(tmp_path / 'run').config
  with pytest.raises(mmdist.errors.UserError, match='pass it again'):
    mmdist.optimize(None, tmp_path / 'run', config=config)
  with pytest.raises(mmdist.errors.UserError, match='representation=...'):
    mmdist.open_run(tmp_path / 'run').render()
