"""Series that should warn, and series that should not."""

import math

import numpy as np
import pytest

from mmdist.config import schema
from mmdist.learner import colors
from mmdist.run import early_warnings

STEPS = 200
SPREAD = 0.08  # Of the mean colour of one view, per channel.
VIEWS = 2


def make_run(ratio=2.0, **prior):
  run = schema.RunConfig()
  run.learner.proxy_learning_rate_ratio = ratio
  run.priors = {'generic': schema.PriorConfig(**prior)}
  return run


def rows(color, saturation=0.5, num_views=VIEWS, seed=0):
  """Returns a run whose head has the colour `color(step)` in every view."""
  rng = np.random.default_rng(seed)
  made = []
  for step in range(STEPS):
    views = color(step) + SPREAD * rng.standard_normal((num_views, 3))
    mean = views.mean(0)
    made.append(
      {
        'step': step,
        'saturation': saturation,
        **{f'color/{n}': v for n, v in zip(('red', 'green', 'blue'), mean)},
      }
    )
    if num_views > 1:
      variance = views.var(0, ddof=1).sum() / num_views
      made[-1]['color_variance'] = variance
  return made


def still(step):
  return np.full(3, 0.5)


def fading(step):
  """Turns green, as a run that was asked to: at once, then ever more slowly."""
  return np.array([0.6, 0.4, 0.4]) + [-0.4, 0.3, 0.0] * np.array(
    1 - np.exp(-step / 25)
  )


def flickering(step):
  """Goes to and fro from step to step, as in MagicMirror, Fig. 12."""
  return 0.5 + 0.2 * np.array([1, -1, 0.5]) * (-1) ** step


def swaying(step):
  """The same, but slowly."""
  return 0.5 + 0.25 * np.array([1, -1, 0.5]) * np.sin(step / 4)


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('color', [still, fading])
def test_a_run_that_goes_well_is_not_warned_of(color, seed):
  assert early_warnings.review(make_run(), rows(color, 0.84, seed=seed)) == []


@pytest.mark.parametrize('share, jump', [(0.08, 0.4), (0.15, 0.35), (0.3, 0.3)])
@pytest.mark.parametrize('seed', range(10))
def test_views_that_are_unlike_the_others_are_no_fluctuation(share, jump, seed):
  # As of a red hat, which fills a picture from above: the head stands still.
  rng = np.random.default_rng(seed)
  made = []
  for step in range(300):
    views = 0.5 + 0.03 * rng.standard_normal((2, 3))
    views[rng.random(2) < share] += [jump, -jump, 0.0]
    mean, variance = views.mean(0), views.var(0, ddof=1).sum() / 2
    names = dict(zip(colors.NAMES, mean, strict=True))
    made.append(
      {'step': step, 'saturation': 0.8, 'color_variance': variance} | names
    )
  assert early_warnings.review(make_run(), made) == []


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('color', [flickering, swaying])
def test_colours_that_fluctuate_are_said_once(color, seed):
  (line,) = early_warnings.review(make_run(0.3), rows(color, seed=seed))
  assert '\n' not in line
  assert 'the colours fluctuate (by 0.' in line
  assert 'learner.proxy_learning_rate_ratio=0.3' in line


def test_the_warning_is_early():
  (line,) = early_warnings.review(make_run(0.3), rows(flickering))
  assert line.startswith(f'step {2 * early_warnings.WINDOW - 1}: ')


def test_both_kinds_are_said_each_once():
  lines = early_warnings.review(make_run(0.3), rows(flickering, 0.95))
  assert ['saturated' in lines[0], 'fluctuate' in lines[1]] == [True, True]
  assert len(lines) == 2


@pytest.mark.parametrize(
  'run, advice',
  [
    (make_run(0.3), 'look at learner.proxy_learning_rate_ratio=0.3: '),
    (
      make_run(guidance_scale=100.0),
      'look at priors.generic.guidance_scale=100: 25 is the most',
    ),
    (make_run(objective='sds'), "priors.generic.objective='sds'"),
    (make_run(0.3, objective='sds'), "priors.generic.objective='sds'"),
    (make_run(), 'look at guidance_scale of the priors'),
  ],
)
def test_the_likeliest_setting_is_named(run, advice):
  (line,) = early_warnings.review(run, rows(still, 0.95))
  assert 'over-saturated (saturation 0.95 over 40 steps' in line
  assert advice in line


def test_of_one_view_a_fluctuation_is_not_told():
  assert early_warnings.review(make_run(), rows(flickering, num_views=1)) == []


def test_what_nobody_sees_is_not_told():
  made = [row | {'color_variance': 1e-9} for row in rows(still)]
  calm = [
    row
    | {'color/red': 0.5 + 0.01 * (-1) ** row['step'], 'color/green': 0.5}
    | {'color/blue': 0.5}
    for row in made
  ]
  assert early_warnings.review(make_run(), calm) == []


def test_steps_without_colours_are_left_out():
  made = rows(flickering)
  made[::3] = [{'step': row['step'], 'rejected': 1.0} for row in made[::3]]
  assert len(early_warnings.review(make_run(0.3), made)) == 1


def test_steps_that_are_taken_again_begin_a_new_window():
  monitor = early_warnings.Monitor(make_run())
  made = rows(still, 0.95)
  for row in made[:70]:
    assert monitor.observe(row['step'], row) == []
  said = [monitor.observe(row['step'], row) for row in made[60:100]]
  assert [len(lines) for lines in said] == [0] * 39 + [1]


def monitored(run, made):
  """Returns what is said of a run while it runs."""
  monitor = early_warnings.Monitor(run)
  return [line for row in made for line in monitor.observe(row['step'], row)]


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('color', [still, fading, flickering, swaying])
@pytest.mark.parametrize('saturation', [0.5, 0.9, 0.95, 'rising'])
def test_a_review_says_what_was_said_in_the_run(color, saturation, seed):
  made = rows(color, saturation, seed=seed)
  for row in made:
    if saturation == 'rising':
      row['saturation'] = 0.8 + 0.001 * row['step']
  broken = [row for row in made if row['step'] % 7]
  broken[60] = {'step': broken[60]['step'], 'rejected': 1.0}
  broken[70] = broken[70] | {'saturation': math.nan}
  del broken[80]['color_variance']
  again = made[:150] + made[90:]
  for series in (made, made[:90], broken, again):
    run = make_run(0.3)
    assert early_warnings.review(run, series) == monitored(run, series)


@pytest.mark.parametrize('distance', [-1e-5, -1e-9, 0, 1e-9, 1e-5])
def test_a_review_agrees_on_the_verge_of_a_warning(distance):
  size = early_warnings.VISIBLE * math.sqrt(38 / 40) * (1 + distance)
  made = [
    row
    | {'color_variance': 0.0, 'color/red': 0.5 + size * (-1) ** row['step']}
    | {'color/green': 0.5, 'color/blue': 0.5}
    for row in rows(still, early_warnings.SATURATION * (1 + distance))
  ]
  run = make_run()
  assert early_warnings.review(run, made) == monitored(run, made)


def test_of_a_run_that_goes_well_a_review_looks_at_no_window(monkeypatch):
  monkeypatch.setattr(early_warnings, 'variance_around_trend', lambda _: 1 / 0)
  assert early_warnings.review(make_run(), rows(fading, 0.84)) == []


def test_the_fluctuation_of_a_known_amplitude_is_found():
  # To and fro by 0.2, -0.2 and 0.1 of red, green and blue; what the draw of
  # the views adds is taken out, up to what its estimate leaves.
  found = early_warnings.fluctuation(rows(flickering))
  assert found == pytest.approx(0.2 * math.hypot(1, 1, 0.5), rel=0.1)
  # Half of that is found where it flickers in every other window.
  found = early_warnings.fluctuation(
    rows(
      lambda t: flickering(t) if t // early_warnings.WINDOW % 2 else still(t)
    )
  )
  assert found == pytest.approx(0.2 * math.hypot(1, 1, 0.5) / 2**0.5, rel=0.1)


@pytest.mark.parametrize('color', [still, fading])
def test_colours_that_the_views_explain_do_not_fluctuate(color):
  # The variance of 160 steps and three channels is 3 / 2 SPREAD^2, known to a
  # fifteenth, and so is what the views explain: the standard error of the
  # difference is 0.14 SPREAD^2, and the root of three of them 0.65 SPREAD.
  for seed in range(5):
    found = early_warnings.fluctuation(rows(color, seed=seed))
    assert found < 0.65 * SPREAD


def test_the_fluctuation_of_a_short_or_odd_run_is_not_known():
  whole = rows(flickering)
  window = early_warnings.WINDOW
  assert early_warnings.fluctuation([]) is None
  assert early_warnings.fluctuation(whole[: 2 * window - 1]) is None
  assert early_warnings.fluctuation(whole[: 2 * window]) > 0.2
  assert early_warnings.fluctuation(rows(flickering, num_views=1)) is None
  without = [{'step': row['step'], 'loss': 0.1} for row in whole]
  assert early_warnings.fluctuation(without) is None


def test_only_the_last_whole_windows_count():
  whole = rows(flickering)
  window = early_warnings.WINDOW
  late = [row for row in whole if row['step'] >= 2 * window]
  extra = [row for row in whole if window <= row['step'] < 2 * window][7:]
  assert early_warnings.fluctuation(extra + late) == pytest.approx(
    early_warnings.fluctuation(late), rel=1e-12
  )


def test_the_variance_around_a_line_is_that_of_polyfit():
  rng = np.random.default_rng(0)
  series = rng.random((40, 3)) + np.arange(40)[:, None] * [0.1, 0.0, -0.2]
  _, residuals, *_ = np.polyfit(np.arange(40), series, 1, full=True)
  found = early_warnings.variance_around_trend(series)
  assert found == pytest.approx(residuals.sum() / 38)
