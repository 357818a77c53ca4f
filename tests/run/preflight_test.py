"""What is said of a run before anything is loaded."""

import pytest

from experiments import mix
from mmdist.config import schema
from mmdist.objectives import binding
from mmdist.run import preflight
from tests.run.mix_recipes import make_recipes


@pytest.fixture
def config():
  return mix.get_config('joker_minus_green')


def test_all_that_will_be_sent_and_added_up_is_said(config):
  config.views.use_view_words = False
  config.concepts[0].schedule = 'linear(1, 0.5)'
  objective = binding.bind_config(config)
  recipes = make_recipes(config)
  lines = preflight.describe(objective, config, recipes, 4, 'on this machine')
  assert lines[0] == (
    'learner  on this machine, 4 cores; 2 views of 64 x 64 pixels a step, '
    '300 steps'
  )
  assert lines[1:4] == [
    'prior    generic: color, rgb, on this machine, 2 threads',
    "  reads  +1.5 'a portrait of a joker', linear(1, 0.5)",
    "  reads  -1.2 'a portrait of a man with green hair'",
  ]
  assert any(
    line.startswith("  reads  -1.2 'a [w] face map of ") for line in lines
  )
  assert 'balance  rgb S = -0.45, normal S = -0.45; composed by sum' in lines
  assert any(
    line.startswith('open     the paper leaves open') for line in lines
  )


def test_the_parts_of_a_step_are_said(config):
  config.views.micro_batches = 2
  objective = binding.bind_config(config)
  line, *_ = preflight.describe(objective, config, [], 4, 'elsewhere')
  assert line.endswith('pixels a step, in 2 parts, 300 steps')


def test_view_words_are_counted(config):
  objective = binding.bind_config(config)
  lines = preflight.describe(objective, config, [], 1, 'elsewhere')
  assert lines[1] == 'prior    generic: color, rgb, elsewhere'
  assert lines[2].endswith("' and with each of 11 view words")


def test_views_that_cannot_be_drawn_or_dealt_are_refused(config):
  objective = binding.bind_config(config)
  preflight.check_views(objective, config)
  config.views.emphasis = {'mouht': 2.0}
  with pytest.raises(ValueError, match="'mouht'; did you mean 'mouth'"):
    preflight.check_views(objective, config)
  config.views.emphasis = {}
  config.views.deal, config.views.num_views = True, 1
  preflight.check_views(objective, config)  # One prior on each channel.
  config.priors['other'] = schema.PriorConfig()
  with pytest.raises(ValueError, match='shares 1 views among 2 priors'):
    preflight.check_views(binding.bind_config(config), config)


def test_cpus_of_a_prior_are_its_threads(config):
  config.priors['normal'].num_cpus = 3
  threads = {
    recipe.spec.name: recipe.spec.num_threads
    for recipe in make_recipes(config, num_threads=1)
  }
  assert threads == {'generic': 1, 'normal': 3}
