"""Every preset of every experiment can be run, and others are refused."""

import pytest

from experiments import edit
from experiments import generate
from experiments import mix
from experiments import sds_versus_vsd
from experiments import smoke
from mmdist.config import validation
from mmdist.objectives import binding

EXPERIMENTS = (edit, generate, mix, sds_versus_vsd, smoke)


@pytest.mark.parametrize(
  'experiment, preset',
  [(experiment, p) for experiment in EXPERIMENTS for p in experiment.PRESETS],
)
def test_a_preset_is_valid_and_balanced(experiment, preset):
  run = experiment.get_config(preset)
  validation.validate(run)
  objective = binding.bind_config(run)
  assert not binding.balance_warnings(objective)


@pytest.mark.parametrize('experiment', EXPERIMENTS)
def test_an_unknown_preset_is_named_with_those_that_exist(experiment):
  with pytest.raises(ValueError, match="unknown preset 'nothing'.*Presets: "):
    experiment.get_config('nothing')


def test_the_ablation_asks_no_normal_prior():
  run = generate.get_config('no_normal')
  assert binding.bind_config(run).channels == ('rgb',)


def test_sds_has_its_guidance_on_every_prior():
  run = sds_versus_vsd.get_config('sds100')
  assert {p.objective for p in run.priors.values()} == {'sds'}
  assert {p.guidance_scale for p in run.priors.values()} == {100.0}


def test_an_edit_asks_the_subject_by_its_token_and_guides_both():
  run = edit.get_config()
  (term,) = binding.bind_config(run).of_prior('personal')
  assert term.prompt == 'a [v] portrait of a man with green skin'
  assert run.priors['personal'].proxy_guidance_scale == 2.0
  assert binding.bind_config(run).priors == ('normal', 'personal')
  blended = binding.bind_config(edit.get_config('blend'))
  assert blended.priors == ('generic', 'normal', 'personal')


def test_a_joker_is_pushed_away_from_green():
  run = mix.get_config('joker_minus_green')
  signs = {c.text.split()[-1]: c.weight > 0 for c in run.concepts}
  assert signs == {'joker': True, 'hair': False}
