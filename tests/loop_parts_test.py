"""The loop with steps in parts, against the loop with whole steps."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import ray_executor
from mmdist.priors import prior as priors
from mmdist.run import stopping
from tests import loop_modes_test
from tests import loop_runs
from tests.chaos import injection
from tests.distribution import rooms
from tests.priors import tiny


@pytest.fixture(autouse=True, scope='module')
def fixture_compilation_cache(tmp_path_factory):
  with loop_runs.compiled_once(tmp_path_factory.mktemp('jax')):
    yield


@pytest.fixture(scope='module', name='recipes')
def fixture_recipes(tmp_path_factory):
  """Real priors, tiny: one for each channel."""
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('prior'))
  return [
    messages.PriorRecipe(
      tiny.spec(directory, name=name, channel=channel), priors.build
    )
    for name, channel in (('generic', 'rgb'), ('normal', 'normal'))
  ]


def make_run(num_steps, num_views, num_parts, **learner) -> schema.RunConfig:
  run = loop_runs.make_run(num_steps, normal=True)
  run.views.num_views, run.views.micro_batches = num_views, num_parts
  for name, value in learner.items():
    setattr(run.learner, name, value)
  return run


def tiny_run(num_views, num_parts) -> schema.RunConfig:
  run = make_run(1, num_views, num_parts, opacity_weight=0.3)
  run.views.resolution, run.views.use_view_words = 16, False
  run.priors['normal'].prompt_template = '{prompt}'
  run.concepts = [
    schema.ConceptConfig('a portrait of a happy man', 1.0),
    schema.ConceptConfig('a portrait of a sad woman', -0.5),
  ]
  return run


def rows_of(workdir) -> list[dict]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def assert_near(one, other, tolerance=1e-5):
  """Batches of other sizes round otherwise: 1e-5 of the whole array."""
  one, other = np.ravel(one), np.ravel(other)
  assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


def flat(tree):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize(
  'num_views, num_parts, keeping',
  [
    (4, 2, {}),
    (5, 3, {}),
    (5, 2, {'remat': False}),
    (5, 2, {'num_kept_chunks': 1}),
  ],
)
def test_a_step_in_parts_is_the_whole_step(
  num_views, num_parts, keeping, recipes, tmp_path
):
  found = {}
  for number in (num_parts, 1):
    run = tiny_run(num_views, number)
    run.learner = dataclasses.replace(run.learner, **keeping)
    workdir = tmp_path / str(number)
    state, proxies = loop_runs.run_loop(run, workdir, recipes)
    gradient = optax.tree_utils.tree_get(state.opt_state, 'mu')
    found[number] = gradient, proxies, rows_of(workdir)[0]
  (gradient, proxies, row), (expected, others, whole) = found.values()
  assert_near(flat(gradient), flat(expected))
  for name, proxy in proxies.items():
    assert proxy.step == others[name].step == 1
    for key, array in others[name].arrays.items():
      if key.startswith('lora/'):
        # Chunks that are kept have other last bits, and of a part others are
        # kept than of the whole. Adam's first step makes much of a gradient
        # that is nearly zero.
        is_kept = 'num_kept_chunks' in keeping
        assert_near(proxy.arrays[key], array, 1e-4 if is_kept else 1e-5)
  assert row.keys() == whole.keys()
  for key, value in whole.items():
    if not key.startswith(('seconds/', 'step_seconds', 'time')):
      # Cosines near zero are differences of large numbers.
      assert row[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


def test_inline_and_ray_end_with_the_same_bits(tmp_path):
  run = make_run(4, 3, 2)
  inline = loop_runs.run_loop(run, tmp_path / 'inline', loop_runs.fakes())
  started = cluster_lib.Cluster(None, rooms.many())
  try:
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(
        loop_runs.executor_lib, 'InlineExecutor', ray_executor.RayExecutor
      )
      remote = loop_runs.run_loop(run, tmp_path / 'ray', loop_runs.fakes())
  finally:
    started.close()
  loop_runs.assert_same(remote, inline)
  for one, other in zip(
    rows_of(tmp_path / 'ray'), rows_of(tmp_path / 'inline'), strict=True
  ):
    for key in ('loss', 'proxy_loss/normal', 'cosine/generic'):
      assert one.get(key) == other.get(key)


def test_a_run_that_is_resumed_half_way_is_the_unbroken_one(tmp_path):
  run = make_run(6, 3, 2)
  whole = loop_runs.run_loop(run, tmp_path / 'whole', loop_runs.fakes())
  stop = loop_runs.StopsAfter(3)
  state, _ = loop_runs.run_loop(
    run, tmp_path / 'parts', loop_runs.fakes(), stop=stop
  )
  assert int(state.step) == 3
  parts = loop_runs.run_loop(run, tmp_path / 'parts', loop_runs.fakes())
  loop_runs.assert_same(parts, whole)


def break_later_part(monkeypatch, function, step, error):
  """Makes a function of the learner raise in a step, but not in its part 1."""
  make = loop_runs.loop.distill.make_learner

  def make_learner(*arguments, **options):
    learner = make(*arguments, **options)
    inner = getattr(learner, function)

    def broken(state, batch, *more):
      if batch.step == step and batch.first_view:
        raise error
      return inner(state, batch, *more)

    return dataclasses.replace(learner, **{function: broken})

  monkeypatch.setattr(loop_runs.loop.distill, 'make_learner', make_learner)


@pytest.mark.parametrize(
  'function, error',
  [
    ('render_views', stopping.Overdue()),
    ('pull_back', stopping.Overdue()),
    ('pull_back', ValueError('of a program')),
  ],
)
def test_a_step_that_is_given_up_between_its_parts_is_taken_again(
  function, error, tmp_path, monkeypatch
):
  run = make_run(6, 2, 2)
  run.checkpoints.every, run.checkpoints.snapshot_every = 0, 1
  whole = loop_runs.run_loop(run, tmp_path / 'whole', loop_runs.fakes())
  break_later_part(monkeypatch, function, 3, error)
  try:
    loop_runs.run_loop(run, tmp_path / 'parts', loop_runs.fakes())
  except ValueError:
    assert str(error) == 'of a program'
  monkeypatch.undo()
  assert (tmp_path / 'parts' / 'checkpoints' / '3').is_dir()
  loop_runs.assert_same(
    loop_runs.run_loop(run, tmp_path / 'parts', loop_runs.fakes()), whole
  )


@pytest.mark.parametrize(
  'keeping', [{}, {'remat': False}, {'num_kept_chunks': 1}], ids=str
)
@pytest.mark.parametrize('first_view', [0, 1, 2])
@pytest.mark.parametrize('kind', ['nan', 'raise'])
def test_what_is_not_finite_in_any_part_rejects_the_step(
  kind, first_view, keeping, tmp_path
):
  run = make_run(5, 3, 3, **keeping)
  run.faults.on_nonfinite = 'reject'
  run.checkpoints.snapshot_every = 2
  always = injection.Fault(
    'normal', 3, 'score:after', kind, times=0, first_view=first_view
  )
  for name in ('marks', 'run'):
    (tmp_path / name).mkdir()
  recipes = [
    injection.with_faults(one, [always], tmp_path / 'marks')
    for one in loop_runs.fakes()
  ]
  state, proxies = loop_runs.run_loop(run, tmp_path / 'run', recipes)
  injection.assert_fired([always], tmp_path / 'marks')
  assert (int(state.step), int(state.rejected)) == (5, 1)
  # The same as a run that never took that step.
  loop_runs.assert_same(
    (state, proxies), loop_runs.run_without(tmp_path / 'other', run, 3)
  )


def test_a_render_that_is_not_finite_in_a_later_part_rejects_the_step(
  tmp_path, monkeypatch
):
  """The parts before it were sent already; nothing of them is left."""
  run = make_run(4, 2, 2)
  run.faults.on_nonfinite = 'reject'
  break_later_part(
    monkeypatch, 'render_views', 2, errors.NotFinite('step 2: a render')
  )
  found = loop_runs.run_loop(run, tmp_path / 'run', loop_runs.fakes())
  monkeypatch.undo()
  assert int(found[0].rejected) == 1
  loop_runs.assert_same(
    found, loop_runs.run_without(tmp_path / 'other', run, 2)
  )


@pytest.mark.parametrize('num_parts', [2, 3])
def test_dealt_views_in_parts_move_the_learner_as_by_hand(num_parts, tmp_path):
  run = loop_modes_test.dealt_run(4)
  run.views.micro_batches = num_parts
  painters = loop_modes_test.painters(run)
  state, _ = loop_runs.run_loop(run, tmp_path, painters)
  run.views.micro_batches = 1
  expected = loop_modes_test.by_hand(run, loop_modes_test.dealt_answer)
  loop_modes_test.assert_close(state, expected)
  for row in rows_of(tmp_path):
    assert row['share/generic'] + row['share/other'] == pytest.approx(1)


def test_parts_of_dealt_views_resume_and_survive(tmp_path):
  run = loop_modes_test.changing_run('deal')
  run.views.micro_batches = 3
  whole = loop_runs.run_loop(run, tmp_path / 'whole', loop_modes_test.fakes())
  stop = loop_runs.StopsAfter(3)
  loop_runs.run_loop(
    run, tmp_path / 'parts', loop_modes_test.fakes(), stop=stop
  )
  parts = loop_runs.run_loop(run, tmp_path / 'parts', loop_modes_test.fakes())
  loop_runs.assert_same(parts, whole)
