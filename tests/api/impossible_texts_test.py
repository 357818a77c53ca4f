"""Contradictions in what embedded priors will read, said before a run."""

import pytest

from experiments import generate
from mmdist.api import impossible_texts
from mmdist.objectives import binding

TEXT = 'a portrait of a bald woman with long red hair'


def warnings_of(config):
  return impossible_texts.warnings_of(binding.bind_config(config), config)


@pytest.fixture
def config():
  config = generate.get_config('default')
  config.prompt = TEXT
  return config


def test_a_contradiction_is_said_once_however_many_priors_read_it(config):
  assert len(binding.bind_config(config).priors) > 1
  assert warnings_of(config) == [
    f"'{TEXT}': 'bald' and 'long hair' cannot be together: a bald head has no "
    'hair.'
  ]


def test_what_can_be_is_not_warned_of(config):
  config.prompt = 'a portrait of a woman with long ginger hair'
  assert warnings_of(config) == []


def test_priors_of_no_embedded_world_may_be_asked_for_anything(
  config, tmp_path
):
  for prior in config.priors.values():
    prior.directory = str(tmp_path)
  assert warnings_of(config) == []


def test_a_prior_of_people_is_asked_in_peoples_words(config, tmp_path):
  (tmp_path / 'mmdist.json').write_text('{"world": "people"}')
  for prior in config.priors.values():
    prior.directory = str(tmp_path)
  config.prompt = 'a portrait of an old boy'
  assert any('neither young nor old' in line for line in warnings_of(config))
