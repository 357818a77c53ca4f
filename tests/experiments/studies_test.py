"""Every run of every study can be made, and asks what its study is about."""

import collections
import dataclasses

import pytest

from experiments import ablations
from experiments import studies
from mmdist.config import experiments
from mmdist.config import validation
from mmdist.evaluation import concept_agreement
from mmdist.heads import worlds

SHIPPED = worlds.get(worlds.DEFAULT)  # What the shipped priors know.


@pytest.mark.parametrize('name', studies.STUDIES)
def test_runs_have_folders_of_their_own_and_known_fields(name):
  runs = studies.get_study(name)
  assert len({run.name for run in runs}) == len(runs)
  for run in runs:
    validation.validate(run.config)
    for field, value in run.values.items():
      assert getattr(run.config, field) == value
    for judged in concept_agreement.judged_concepts(run.config, SHIPPED):
      words = set(judged.text.replace(',', ' ,').split())
      assert words <= set(SHIPPED.captions.vocabulary()), judged.text


def test_held_out_sentences_ask_for_held_out_combinations():
  for prompt in studies.HELD_OUT_PROMPTS:
    asked = SHIPPED.captions.parse(prompt)
    assert any(
      combination.items() <= asked.items()
      for combination in SHIPPED.attributes.held_out
    ), prompt
  assert len(studies.HELD_OUT_PROMPTS) == 12


def test_every_held_out_combination_is_asked_for():
  asked = [
    SHIPPED.captions.parse(prompt) for prompt in studies.HELD_OUT_PROMPTS
  ]
  for combination in SHIPPED.attributes.held_out:
    assert any(combination.items() <= a.items() for a in asked), combination


def test_each_expression_is_asked_as_often():
  asked = [
    SHIPPED.captions.parse(p)['expression'] for p in studies.EXPRESSION_PROMPTS
  ]
  assert collections.Counter(asked) == {'happy': 2, 'sad': 2, 'surprised': 2}


def test_an_unknown_study_is_named_with_those_that_exist():
  with pytest.raises(ValueError, match="unknown study 'all'.*Studies: "):
    studies.get_study('all')


def test_each_preset_of_the_ablations_has_both_seeds_and_claims_of_its_own():
  comparison = studies.get_comparison('ablations')
  runs = {run.name: run.config for run in studies.get_study('ablations')}
  claimed = {claim.preset for claim in comparison.claims}
  assert claimed | {comparison.reference} == set(ablations.PRESETS)
  assert comparison.reference not in claimed
  for preset, names in comparison.cells.items():
    assert [runs[name].seed for name in names] == list(studies.SEEDS)
    for name in names:
      config = dataclasses.replace(runs[name], seed=0)
      assert config == ablations.get_config(preset)


def test_what_an_ablation_needs_made_comes_last():
  plain = experiments.load('generate')
  runs = studies.get_study('ablations')
  own = [
    run.config.nerf_assets != plain.nerf_assets
    or run.config.priors['normal'].directory != 'normal'
    for run in runs
  ]
  # As the docstrings say: --last=14.
  assert own == [False] * 14 + [True] * 6


def test_most_studies_claim_nothing():
  assert studies.get_comparison('held_out') is None
