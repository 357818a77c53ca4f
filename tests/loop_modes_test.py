"""The loop with schedules, dealt views and modes, against steps by hand."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from mmdist.api import function_prior
from mmdist.config import schema
from mmdist.core import composition
from mmdist.core import messages
from mmdist.learner import distill
from tests import loop_runs
from tests.chaos import injection
from tests.distribution import fake_prior
from tests.learner import tiny_field

TARGETS = {
  'red': np.float32([0.9, 0.2, 0.1]),
  'green': np.float32([0.1, 0.8, 0.2]),
  'dark': np.float32([0.2, 0.1, 0.1]),
}


class Painter(function_prior.FunctionPrior):
  """A prior without a proxy, whose residual is the distance to a colour."""

  def __init__(self, spec: messages.PriorSpec):
    super().__init__(spec.name, spec.options.channel, self._paint)

  def _paint(self, request: messages.ScoreRequest) -> np.ndarray:
    residuals = np.stack(
      [request.images - TARGETS[term.plain_prompt] for term in request.terms]
    )
    weights = [term.weight for term in request.terms]
    parts = composition.transform(residuals, weights, request.mode)
    total = composition.add(parts, weights, request.mode)
    return np.float32(total / total.size)

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    metrics = {'num_views': len(request.images)}
    return dataclasses.replace(super().score(request), metrics=metrics)


def painter(name: str) -> messages.PriorRecipe:
  channel = 'normal' if name == 'normal' else 'rgb'
  options = messages.PriorOptions(channel=channel)
  return messages.PriorRecipe(messages.PriorSpec(name, options), Painter)


def concept(text, weight=1.0, **fields) -> schema.ConceptConfig:
  return schema.ConceptConfig(text, weight, **fields)


def make_run(num_steps, *concepts, mode='sum') -> schema.RunConfig:
  run = loop_runs.make_run(num_steps)
  run.concepts, run.mode = list(concepts), mode
  return run


def by_hand(run, answer, left_out=None) -> distill.TrainState:
  """Takes the steps of a run but one.

  answer(step, renders) returns channel -> cotangent.
  """
  learner = distill.make_learner(
    tiny_field.tiny_field(), run, with_normals=run.priors['normal'].enabled
  )
  state = learner.init(tiny_field.init(jax.random.key(0)))
  for step in range(run.num_steps):
    if step == left_out:
      state = learner.skip(state)
      continue
    batch = distill.sample_batch(run.views, run.seed, step)
    renders = learner.render_views(state, batch)
    state, _ = learner.apply_cotangents(state, batch, answer(step, renders))
  return state


def assert_close(state, expected):
  """Sums in another order round apart, which Adam's quotient enlarges."""
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(
      one, other, rtol=1e-3, atol=1e-4
    ),
    state.params,
    expected.params,
  )


def rows_of(workdir) -> list[dict]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.fixture(autouse=True, scope='module')
def fixture_compilation_cache(tmp_path_factory):
  with loop_runs.compiled_once(tmp_path_factory.mktemp('jax')):
    yield


def dealt_run(num_steps=5) -> schema.RunConfig:
  run = make_run(
    num_steps,
    concept('red', priors=('generic',)),
    concept('green', priors=('other',)),
    concept('dark', priors=('normal',)),
  )
  run.views.num_views, run.views.deal = 3, True
  run.priors['normal'].enabled = True
  run.priors['normal'].prompt_template = '{prompt}'
  run.priors['other'] = schema.PriorConfig()
  return run


# Views of 'generic' and of 'other', at even and at odd steps. The prior of
# normals is alone on its channel and sees all three.
DEALT = (([0, 2], [1]), ([1], [0, 2]))


def dealt_answer(step, renders):
  rgb = np.zeros_like(renders.rgb)
  for views, text in zip(DEALT[step % 2], ('red', 'green')):
    residual = renders.rgb[views] - TARGETS[text]
    rgb[views] = residual / residual.size
  normal = renders.normals - TARGETS['dark']
  return {'rgb': rgb, 'normal': normal / normal.size}


def painters(run) -> list[messages.PriorRecipe]:
  return [painter(name) for name in run.priors if run.priors[name].enabled]


def test_dealt_views_move_the_learner_as_cotangents_by_hand(tmp_path):
  run = dealt_run(4)
  state, _ = loop_runs.run_loop(run, tmp_path, painters(run))
  expected = by_hand(run, dealt_answer)
  jax.tree.map(np.testing.assert_array_equal, state.params, expected.params)
  for step, row in enumerate(rows_of(tmp_path)):
    seen = [row[f'num_views/{name}'] for name in ('generic', 'other', 'normal')]
    assert seen == [*map(len, DEALT[step % 2]), 3]
    assert row['share/generic'] + row['share/other'] == pytest.approx(1)


def scheduled_run() -> schema.RunConfig:
  return make_run(
    5,
    concept('red', 2.0, schedule='linear(1, 0)'),
    concept('green', 0.5, schedule='cosine(0, 1)'),
    concept('dark', -0.25),
  )


def scheduled_answer(step, renders):
  weights = {
    'red': 2 * (1 - step / 4),
    'green': 0.5 * (1 - math.cos(math.pi * step / 4)) / 2,
    'dark': -0.25,
  }
  total = sum(w * (renders.rgb - TARGETS[t]) for t, w in weights.items())
  return {'rgb': np.float32(total / total.size)}


def test_scheduled_weights_move_the_learner_as_by_hand(tmp_path):
  run = scheduled_run()
  state, _ = loop_runs.run_loop(run, tmp_path, painters(run))
  assert_close(state, by_hand(run, scheduled_answer))
  with pytest.raises(AssertionError):  # A weight that stays is told apart.
    assert_close(state, by_hand(run, lambda _, r: scheduled_answer(0, r)))


@pytest.mark.parametrize(
  'make, answer', [(dealt_run, dealt_answer), (scheduled_run, scheduled_answer)]
)
def test_steps_after_one_that_was_left_out_are_as_by_hand(
  tmp_path, make, answer
):
  run = make()
  run.faults.on_nonfinite = 'reject'
  fault = injection.Fault('generic', 2, 'score:after', 'nan', times=0)
  for name in ('marks', 'run'):
    (tmp_path / name).mkdir()
  recipes = [
    injection.with_faults(recipe, [fault], tmp_path / 'marks')
    for recipe in painters(run)
  ]
  state, _ = loop_runs.run_loop(run, tmp_path / 'run', recipes)
  injection.assert_fired([fault], tmp_path / 'marks')
  assert (int(state.step), int(state.rejected)) == (5, 1)
  # They have the weights, and deal the views, of their own numbers.
  assert_close(state, by_hand(run, answer, left_out=2))


def clear_of(residual, wanted):
  """Returns a view's residual without its component along another."""
  along = np.vdot(residual, wanted) / np.vdot(wanted, wanted)
  return residual - along * wanted


def of_size_one(residual):
  return residual / np.sqrt(np.mean(residual**2))


@pytest.mark.parametrize('mode', ['perp', 'renorm'])
def test_a_mode_moves_the_learner_as_by_hand(tmp_path, mode):
  run = make_run(
    3, concept('red'), concept('green', 0.5), concept('dark', -0.8), mode=mode
  )
  state, _ = loop_runs.run_loop(run, tmp_path, painters(run))

  def compose(view):
    red, green, dark = (view - TARGETS[t] for t in ('red', 'green', 'dark'))
    if mode == 'perp':
      wanted = red + 0.5 * green
      return wanted - 0.8 * clear_of(dark, wanted)
    red, green, dark = map(of_size_one, (red, green, dark))
    return red + 0.5 * green - 0.8 * dark

  def answer(step, renders):
    del step
    total = np.stack([compose(view) for view in renders.rgb])
    return {'rgb': np.float32(total / total.size)}

  assert_close(state, by_hand(run, answer))


def changing_run(kind: str) -> schema.RunConfig:
  """Returns a run of six steps whose requests depend on their steps."""
  run = loop_runs.make_run(6)
  run.priors['other'] = schema.PriorConfig()
  if kind == 'deal':
    run.views.num_views, run.views.deal = 3, True
  else:
    run.concepts = [
      concept('red', schedule='linear(1, 0.2)'),
      concept('dark', 0.5, schedule='piecewise(0: 0, 0.5: 1)'),
    ]
  return run


def fakes() -> list[messages.PriorRecipe]:
  return [fake_prior.recipe(name) for name in ('generic', 'other')]


@pytest.mark.parametrize('kind', ['schedule', 'deal'])
def test_a_run_that_is_resumed_half_way_is_the_unbroken_one(tmp_path, kind):
  run = changing_run(kind)
  whole = loop_runs.run_loop(run, tmp_path / 'whole', fakes())
  stop = loop_runs.StopsAfter(3)
  state, _ = loop_runs.run_loop(run, tmp_path / 'parts', fakes(), stop=stop)
  assert int(state.step) == 3
  parts = loop_runs.run_loop(run, tmp_path / 'parts', fakes())
  loop_runs.assert_same(parts, whole)
