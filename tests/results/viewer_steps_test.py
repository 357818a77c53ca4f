"""A viewer goes with a run, and back to what it was."""

import pytest

from mmdist.results import viewer
from tests.results import browsers


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(viewer, 'DRAFT_RESOLUTION', 8)


def test_a_run_that_goes_on_is_followed():
  browser, heads = browsers.Browser(), browsers.Heads(5)
  made = viewer.Viewer(browsers.Server(a=browser), heads, browsers.FULL)
  start = made._looked_at
  browsers.drawn(made, start)
  assert made._step.value == 5
  heads.there.append(6)
  assert not made.tick(start + 1)  # It is not looked for all the time.
  later = start + viewer.LOOK_FOR_PARAMS_EVERY_S + 1
  assert browsers.drawn(made, later) == 1
  assert (made._step.value, made._slider.value, made._slider.max) == (6, 1, 1)
  assert len(browser.pictures) == 3


def test_the_slider_shows_an_earlier_checkpoint_and_stays_there():
  browser, heads = browsers.Browser(), browsers.Heads(0, 5, 10)
  made = viewer.Viewer(browsers.Server(a=browser), heads, browsers.FULL)
  browsers.drawn(made, 0.0)
  late = browser.pictures[-1]
  made._slider.value = 1
  assert (
    browsers.drawn(made, 0.0) == 1
  )  # The camera rests, so there is no draft.
  assert made._step.value == 5
  assert (browser.pictures[-1] != late).any()
  # Step 0 goes and 15 comes: still step 5.
  heads.there = [5, 10, 15]
  later = made._looked_at + viewer.LOOK_FOR_PARAMS_EVERY_S + 1
  assert browsers.drawn(made, later) == 0
  assert (made._slider.value, made._slider.max, made._step.value) == (0, 2, 5)
  assert heads.loaded == [10, 5]
  # When that goes too, the next one is shown.
  heads.there = [10, 15]
  browsers.drawn(made, later + viewer.LOOK_FOR_PARAMS_EVERY_S + 1)
  assert (made._slider.value, made._step.value) == (0, 10)


def test_a_checkpoint_that_cannot_be_read_is_passed_over():
  heads = browsers.Heads(5, 10, 15, gone=[15])
  made = viewer.Viewer(browsers.Server(), heads, browsers.FULL)
  assert (made._step.value, made._slider.value, made._slider.max) == (10, 1, 1)
  heads.there.append(20)
  heads.gone.add(5)
  made.tick(made._looked_at + viewer.LOOK_FOR_PARAMS_EVERY_S + 1)
  assert made._step.value == 20
  made._slider.value = 0
  made.tick(made._looked_at)
  assert made._step.value == 10 and heads.loaded.count(15) == 1
