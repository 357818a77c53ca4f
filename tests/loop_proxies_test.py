"""The loop with a real, tiny prior in which each concept has a proxy."""

import json
import shutil

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import messages
from mmdist.priors import concept_proxies
from mmdist.priors import prior as priors
from tests import loop_runs
from tests.priors import tiny

HAPPY = 'a portrait of a happy man'
SAD = 'a portrait of a sad woman'


@pytest.fixture(scope='module', name='recipe')
def fixture_recipe(tmp_path_factory):
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('prior'))
  spec = tiny.spec(directory, name='generic', proxy_per='concept')
  return messages.PriorRecipe(spec, priors.build)


@pytest.fixture(autouse=True, scope='module')
def fixture_compilation_cache(tmp_path_factory):
  with loop_runs.compiled_once(tmp_path_factory.mktemp('jax')):
    yield


def run(workdir, recipe, texts, num_steps=None):
  """Goes on with a run of four steps, or with so many of them."""
  config = loop_runs.make_run(4)
  config.views.use_view_words = False  # The tiny prior does not know them all.
  config.concepts = [schema.ConceptConfig(text) for text in texts]
  stop = None if num_steps is None else loop_runs.StopsAfter(num_steps)
  return loop_runs.run_loop(config, workdir, [recipe], stop=stop)


def assert_same(one, two):
  (state, proxies), (other, others) = one, two
  jax.tree.map(np.testing.assert_array_equal, state, other)
  first, second = proxies['generic'], others['generic']
  assert first.step == second.step
  assert first.arrays.keys() == second.arrays.keys()
  for name, array in first.arrays.items():
    np.testing.assert_array_equal(array, second.arrays[name])


def counts(state: messages.ProxyState) -> dict[str, int]:
  """Returns how many fits each concept's proxy has behind it."""
  return {
    name.removesuffix('/step'): int(array)
    for name, array in state.arrays.items()
    if name.endswith('/step')
  }


def test_each_concepts_loss_is_in_the_metrics(tmp_path, recipe):
  run(tmp_path, recipe, [HAPPY, SAD], num_steps=2)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  row = json.loads(lines[1])  # A fit is known in the step after it.
  losses = [row[f'proxy_loss/generic/{index}'] for index in range(2)]
  assert losses[0] != losses[1]
  assert row['proxy_loss/generic'] == pytest.approx(np.mean(losses))


def test_a_run_with_changed_concepts_resumes_bit_for_bit(tmp_path, recipe):
  run(tmp_path / 'whole', recipe, [HAPPY], num_steps=1)
  shutil.copytree(tmp_path / 'whole', tmp_path / 'parts')
  whole = run(tmp_path / 'whole', recipe, [HAPPY, SAD])
  _, proxies = run(tmp_path / 'parts', recipe, [HAPPY, SAD], num_steps=1)
  happy, sad = map(concept_proxies.label_of, (HAPPY, SAD))
  assert counts(proxies['generic']) == {happy: 2, sad: 1}
  assert_same(run(tmp_path / 'parts', recipe, [HAPPY, SAD]), whole)
  assert counts(whole[1]['generic']) == {happy: 4, sad: 3}


def test_a_concept_that_is_gone_is_in_no_later_checkpoint(tmp_path, recipe):
  run(tmp_path, recipe, [HAPPY, SAD], num_steps=1)
  _, proxies = run(tmp_path, recipe, [SAD], num_steps=1)
  assert counts(proxies['generic']) == {concept_proxies.label_of(SAD): 2}
