"""The loop with priors of a few lines: it descends, resumes, and stops."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from mmdist import loop
from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import faults
from mmdist.learner import distill
from mmdist.run import checkpointing
from mmdist.run import stopping
from tests import loop_runs
from tests.chaos import injection
from tests.distribution import fake_prior
from tests.learner import tiny_field

TARGET = np.float32([0.9, 0.2, 0.1])


class Painter:
  """A prior without a proxy that wants every pixel of the ball TARGET."""

  def __init__(self, spec: messages.PriorSpec):
    self._spec = spec
    self.step = 0

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    difference = request.images - TARGET
    return messages.ScoreGradient(
      step=request.step,
      prior=self._spec.name,
      channel=self._spec.options.channel,
      cotangent=difference / difference.size,
      proxy_step=self.step,
      metrics={'norm_0': float(np.linalg.norm(difference))},
    )

  def fit(self):
    self.step += 1
    return {}

  def save_proxy(self) -> messages.ProxyState:
    return messages.ProxyState(self.step, {})

  def restore_proxy(self, state: messages.ProxyState) -> None:
    self.step = state.step


@pytest.fixture(autouse=True, scope='module')
def fixture_compilation_cache(tmp_path_factory):
  with loop_runs.compiled_once(tmp_path_factory.mktemp('jax')):
    yield


def painter() -> messages.PriorRecipe:
  return messages.PriorRecipe(
    messages.PriorSpec('generic', messages.PriorOptions()), Painter
  )


def test_renders_approach_what_a_prior_wants(tmp_path):
  run = loop_runs.make_run(60)
  before = tiny_field.init(jax.random.key(0))
  state, _ = loop_runs.run_loop(run, tmp_path, [painter()])
  learner = distill.make_learner(
    tiny_field.tiny_field(), run, with_normals=False
  )
  batch = distill.sample_batch(run.views, 123, 0)

  def distance(params):
    renders = learner.render_views(learner.init(params), batch)
    return np.square(renders.rgb - TARGET).mean()

  # A soft ball cannot fill the corners: most of the way is enough.
  assert distance(state.params) < 0.25 * distance(before)


def test_every_step_is_reported_with_its_cotangents(tmp_path):
  loop_runs.run_loop(
    loop_runs.make_run(3, normal=True), tmp_path, loop_runs.fakes()
  )
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == [0, 1, 2]
  assert {
    'loss',
    'cotangent_norm/generic',
    'cotangent_norm/normal',
    'gradient_norm',
  } <= set(rows[0])
  # Of the fit of the step before.
  assert 'proxy_loss/generic' in rows[1]


def test_every_step_reports_the_weights_that_a_schedule_moves(tmp_path):
  run = loop_runs.make_run(3)
  run.concepts = [
    schema.ConceptConfig('fades', 2.0, schedule='linear(1, 0)'),
    schema.ConceptConfig('stays', 1.0),
  ]
  loop_runs.run_loop(run, tmp_path, loop_runs.fakes()[:1])
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['weight/generic/0'] for row in rows] == [2.0, 1.0, 0.0]
  assert 'weight/generic/1' not in rows[0]
  assert rows[0]['conflict/generic'] == 0.0


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
  run = loop_runs.make_run(6, normal=True)
  whole = loop_runs.run_loop(run, tmp_path / 'whole', loop_runs.fakes())
  with pytest.raises(faults.PriorFailed):
    loop_runs.run_loop(
      run, tmp_path / 'parts', [loop_runs.fakes()[0], dies_at_step(5)]
    )
  parts = loop_runs.run_loop(run, tmp_path / 'parts', loop_runs.fakes())
  loop_runs.assert_same(parts, whole)
  rows = (tmp_path / 'parts' / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(row)['step'] for row in rows] == list(range(6))


def test_a_resume_in_another_dtype_is_said(tmp_path, caplog):
  run = loop_runs.make_run(4)

  def computing_in(dtype) -> list[messages.PriorRecipe]:
    class Computing(fake_prior.FakePrior):
      def save_proxy(self):
        return dataclasses.replace(super().save_proxy(), dtype=dtype)

    recipe = fake_prior.recipe('generic')
    return [dataclasses.replace(recipe, build=Computing)]

  stop = loop_runs.StopsAfter(2)
  loop_runs.run_loop(run, tmp_path, computing_in('bfloat16'), stop=stop)
  assert not caplog.messages
  loop_runs.run_loop(run, tmp_path, computing_in('float32'))
  (line,) = [line for line in caplog.messages if 'float32' in line]
  assert 'computed in bfloat16 before checkpoint 2' in line


def dies_at_step(step: int) -> messages.PriorRecipe:
  class Dying(fake_prior.FakePrior):
    def score(self, request):
      if request.step == step:
        raise MemoryError('no room')
      return super().score(request)

  recipe = fake_prior.recipe('normal')
  return dataclasses.replace(recipe, build=Dying)


def test_a_run_that_lost_its_last_checkpoint_resumes_from_the_one_before(
  tmp_path,
):
  run = loop_runs.make_run(6, normal=True)
  whole = loop_runs.run_loop(run, tmp_path, loop_runs.fakes())
  arrays = tmp_path / 'checkpoints' / '6' / 'arrays'
  for path in arrays.rglob('*'):
    if path.is_file():
      path.write_bytes(b'')
  loop_runs.assert_same(
    loop_runs.run_loop(run, tmp_path, loop_runs.fakes()), whole
  )


def test_a_finished_run_takes_no_further_step(tmp_path):
  run = loop_runs.make_run(2, normal=True)
  first = loop_runs.run_loop(run, tmp_path, loop_runs.fakes())
  metrics = (tmp_path / 'metrics.jsonl').read_text()
  loop_runs.assert_same(
    loop_runs.run_loop(run, tmp_path, loop_runs.fakes()), first
  )
  assert (tmp_path / 'metrics.jsonl').read_text() == metrics


def test_the_last_step_is_saved_with_every_fit(tmp_path):
  run = loop_runs.make_run(3, normal=True)
  loop_runs.run_loop(run, tmp_path, loop_runs.fakes())
  with checkpointing.CheckpointStore(tmp_path, run) as store:
    params = tiny_field.init(jax.random.key(0))
    assert store.read_params(params)[0] == 3
  with executor_lib.InlineExecutor(loop_runs.fakes()) as executor:
    learner = distill.make_learner(tiny_field.tiny_field(), run)
    with checkpointing.CheckpointStore(tmp_path, run) as store:
      store.restore_or_init(learner.init(params), executor)
    assert executor.save_proxies()['normal'].step == 3


def test_a_prior_that_fails_is_named_with_its_step(tmp_path):
  recipes = [loop_runs.fakes()[0], dies_at_step(1)]
  with pytest.raises(faults.PriorFailed, match="'normal' failed at step 1"):
    loop_runs.run_loop(loop_runs.make_run(3, normal=True), tmp_path, recipes)


def faulty(folder, *faults) -> list[messages.PriorRecipe]:
  return [
    injection.with_faults(recipe, faults, folder)
    for recipe in loop_runs.fakes()
  ]


@pytest.mark.parametrize(
  'point, kind',
  [('score:after', 'nan'), ('score:after', 'inf'), ('fit:before', 'raise')],
)
def test_what_is_not_finite_is_left_out_and_moves_nothing(
  tmp_path, point, kind
):
  run = loop_runs.make_run(6, normal=True)
  run.faults.on_nonfinite = 'reject'
  run.checkpoints.snapshot_every = 4
  always = injection.Fault('normal', 3, point, kind, times=0)
  for name in ('marks', 'run'):
    (tmp_path / name).mkdir()
  recipes = faulty(tmp_path / 'marks', always)
  state, proxies = loop_runs.run_loop(run, tmp_path / 'run', recipes)
  injection.assert_fired([always], tmp_path / 'marks')
  assert (int(state.step), int(state.rejected)) == (6, 1)
  assert {proxy.step for proxy in proxies.values()} == {5}
  rows = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(row)['step'] for row in rows] == list(range(6))
  assert json.loads(rows[3])['rejected'] == 1
  # The same as a run that never took that step.
  loop_runs.assert_same(
    (state, proxies), loop_runs.run_without(tmp_path / 'other', run, 3)
  )


def test_by_default_what_is_not_finite_stops_the_run(tmp_path):
  fault = injection.Fault('normal', 3, 'score:after', 'nan')
  (tmp_path / 'run').mkdir()
  with pytest.raises(errors.NotFinite, match="'normal' answered step 3"):
    loop_runs.run_loop(
      loop_runs.make_run(6, normal=True),
      tmp_path / 'run',
      faulty(tmp_path, fault),
    )


def test_too_many_in_a_row_stop_the_run(tmp_path):
  run = loop_runs.make_run(6, normal=True)
  run.faults.on_nonfinite, run.faults.max_rejected = 'reject', 2
  always = injection.Fault('normal', -1, 'score:after', 'nan', times=0)
  (tmp_path / 'run').mkdir()
  with pytest.raises(FloatingPointError, match='3 steps in a row were not fin'):
    loop_runs.run_loop(run, tmp_path / 'run', faulty(tmp_path, always))


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_later(tmp_path):
  run = loop_runs.make_run(6, normal=True)
  whole = loop_runs.run_loop(run, tmp_path / 'whole', loop_runs.fakes())
  parts = tmp_path / 'parts'
  state, _ = loop_runs.run_loop(
    run, parts, loop_runs.fakes(), stop=loop_runs.StopsAfter(3)
  )
  assert int(state.step) == 3
  # Not a multiple of checkpoints.every: saved because of the signal.
  assert (parts / 'checkpoints' / '3').is_dir()
  loop_runs.assert_same(
    loop_runs.run_loop(run, parts, loop_runs.fakes()), whole
  )


def test_a_stopped_run_returns_the_state_that_was_saved(tmp_path):
  class Unsaved(fake_prior.FakePrior):
    def save_proxy(self):
      if self._num_fits == 3:
        raise ValueError('no copy of fit 3')
      return super().save_proxy()

  run = loop_runs.make_run(6, normal=True)
  run.checkpoints.every, run.checkpoints.snapshot_every = 0, 2
  recipes = [
    loop_runs.fakes()[0],
    dataclasses.replace(loop_runs.fakes()[1], build=Unsaved),
  ]
  with executor_lib.InlineExecutor(recipes) as executor:
    state = loop.optimize(
      run,
      tmp_path,
      executor,
      tiny_field.tiny_field(),
      tiny_field.init(jax.random.key(0)),
      stop=loop_runs.StopsAfter(3),
    )
  assert int(state.step) == 2
  assert (tmp_path / 'checkpoints' / '2').is_dir()


def test_a_step_that_never_ends_costs_no_more_than_a_snapshot(tmp_path):
  run = loop_runs.make_run(6, normal=True)
  run.checkpoints.every, run.checkpoints.snapshot_every = 0, 2
  stop = loop_runs.StopsAfter(3, stopping.Overdue())
  state, _ = loop_runs.run_loop(run, tmp_path, loop_runs.fakes(), stop=stop)
  assert int(state.step) == 2
  assert (tmp_path / 'checkpoints' / '2').is_dir()


def test_a_prior_lost_for_good_costs_no_more_than_a_snapshot(tmp_path):
  class Lost(fake_prior.FakePrior):
    def score(self, request):
      if request.step == 3:
        raise faults.PriorLost('normal', 3, 'its process died')
      return super().score(request)

  run = loop_runs.make_run(6, normal=True)
  run.checkpoints.every, run.checkpoints.snapshot_every = 0, 2
  recipes = [
    loop_runs.fakes()[0],
    dataclasses.replace(loop_runs.fakes()[1], build=Lost),
  ]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(executor_lib, 'call', lambda name, step, call, *a: call(*a))
    with pytest.raises(faults.PriorLost, match="'normal' was lost at step 3"):
      loop_runs.run_loop(run, tmp_path, recipes)
  assert (tmp_path / 'checkpoints' / '2').is_dir()


def test_requests_carry_words_rates_and_fits():
  run = loop_runs.make_run(10)
  batch = distill.sample_batch(run.views, run.seed, 4)
  images = np.zeros((2, 8, 8, 3), np.float32)
  renders = distill.ViewRenders(images, images, images[..., 0])
  objective = loop.binding.bind_config(run)
  request = loop.requests_for(objective, run, batch, renders, 3)['generic']
  words = batch.views.words
  assert [p.split(' , ')[1] for p in request.terms[0].prompts] == [
    f'{word} view' for word in words
  ]
  assert request.proxy_step == 3
  # Twice the learner's, decayed by 0.2 ** 0.4.
  assert request.proxy_learning_rate == pytest.approx(0.1 * 0.2**0.4)
  run.views.use_view_words = False
  plain = loop.requests_for(objective, run, batch, renders, 3)['generic']
  assert plain.terms[0].prompts == (run.prompt, run.prompt)
