"""Every preset of every experiment can be run, and others are refused."""

import re

import pytest

from experiments import ablations
from experiments import edit
from experiments import generate
from experiments import guidance
from experiments import mix
from experiments import pretrain
from experiments import sds_versus_vsd
from experiments import smoke
from experiments import trajectory
from mmdist.config import changes
from mmdist.config import validation
from mmdist.learner import optimizer
from mmdist.learner import start
from mmdist.nerf import field
from mmdist.objectives import binding
from mmdist.objectives import score_requests
from mmdist.objectives import texts
from mmdist.sweeps import claims
from mmdist.trajectories import legs

EXPERIMENTS = (
  ablations,
  edit,
  generate,
  guidance,
  mix,
  sds_versus_vsd,
  smoke,
)


@pytest.mark.parametrize(
  'experiment, preset',
  [(experiment, p) for experiment in EXPERIMENTS for p in experiment.PRESETS],
)
def test_a_preset_is_valid_and_balanced(experiment, preset):
  run = experiment.get_config(preset)
  validation.validate(run)
  objective = binding.bind_config(run)
  assert not binding.balance_warnings(objective)


@pytest.mark.parametrize('preset', trajectory.PRESETS)
def test_every_leg_of_a_trajectory_can_be_run(preset):
  config = trajectory.get_config(preset)
  planned = legs.plan(legs.from_config(config), config.base)
  assert [leg.name for leg in planned] == [
    f'{number}-{name}'
    for number, (name, _) in enumerate(trajectory.PRESETS[preset])
  ]
  for leg, (_, prompt) in zip(planned, trajectory.PRESETS[preset]):
    assert leg.config.prompt == prompt and not leg.config.concepts


@pytest.mark.parametrize('experiment', (*EXPERIMENTS, trajectory))
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


def test_an_ablation_differs_from_generating_in_its_fields_alone():
  plain = generate.get_config()
  for preset, values in ablations.PRESETS.items():
    found = changes.find_changes(plain, ablations.get_config(preset))
    assert {change.field for change in found} == set(values)
  assert not ablations.PRESETS[ablations.REFERENCE]


def test_the_ablations_have_the_numbers_of_the_paper():
  for preset, scale in (('sds_20', 20.0), ('sds_100', 100.0)):
    run = ablations.get_config(preset)
    assert {p.objective for p in run.priors.values()} == {'sds'}
    assert {p.guidance_scale for p in run.priors.values()} == {scale}
  rates = {}
  for preset in ('reference', 'ratio_03', 'code_only'):
    run = ablations.get_config(preset)
    rates[preset] = (
      optimizer.moving_rate_at(run.learner, run.num_steps, 0),
      optimizer.proxy_learning_rate_at(run.learner, run.num_steps, 0),
    )
  moving, proxy = rates['reference']
  assert proxy / moving == pytest.approx(2.0)
  assert rates['ratio_03'] == pytest.approx((moving, 0.3 * moving))
  assert rates['code_only'] == pytest.approx((3e-2, 6e-2))


@pytest.mark.parametrize('preset', ablations.PRESETS)
def test_an_ablation_claims_what_is_measured_and_where_the_paper_says_so(
  preset,
):
  found = [c for c in ablations.CLAIMS if c.preset == preset]
  assert bool(found) == (preset != ablations.REFERENCE)
  for claim in found:
    assert claim.figure in claims.FIGURES and claim.expected in claims.EXPECTED
    assert re.fullmatch(
      r'MagicMirror, Fig\. (5[a-e]|12)(, (top|bottom))?', claim.place
    )


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


GENERATING = ('paper', 'code_only', 'ratio_03', 'refine')
EDITING = ('paper', 'paper_geometry')
OF_THE_PAPER = [(generate, preset) for preset in GENERATING] + [
  (edit, preset) for preset in EDITING
]


@pytest.mark.parametrize('experiment, preset', OF_THE_PAPER)
def test_a_preset_of_the_paper_has_what_all_its_runs_share(experiment, preset):
  run = experiment.get_config(preset)
  assert run.nerf == field.PRESETS['preface']
  assert run.nerf is not field.PRESETS['preface']  # Flags may change it.
  assert (run.nerf.nerf_depth, run.nerf.nerf_width) == (8, 1536)
  assert (run.nerf.proposal_depth, run.nerf.proposal_width) == (4, 768)
  assert (run.nerf.num_proposal_samples, run.nerf.num_nerf_samples) == (64, 32)
  assert run.num_steps == (1100 if preset == 'refine' else 1000)
  assert run.views.resolution == 128
  assert run.views.use_view_words
  assert run.noise.minimum == 0.02
  assert run.learner.code_learning_rate_ratio == 1.0
  assert {prior.rank for prior in run.priors.values()} == {4}
  assert {prior.weight for prior in run.priors.values()} == {1.0}


@pytest.mark.parametrize('experiment, preset', OF_THE_PAPER)
def test_only_colours_are_called_a_photo(experiment, preset):
  run = experiment.get_config(preset)
  sent = texts.texts_of(binding.bind_config(run), run.views)
  for prior, read in sent.items():
    is_photo = run.priors[prior].channel == 'rgb'
    assert {t.startswith('A DSLR photo of ') for t in read} == {is_photo}
    assert any(text.endswith(' , low-angle view') for text in read)


@pytest.mark.parametrize('preset', GENERATING)
def test_generating_has_guidance_three_and_unguided_proxies(preset):
  run = generate.get_config(preset)
  assert {p.guidance_scale for p in run.priors.values()} == {3.0}
  assert {p.proxy_guidance_scale for p in run.priors.values()} == {1.0}
  assert binding.bind_config(run).priors == ('generic', 'normal')


@pytest.mark.parametrize('preset', EDITING)
def test_editing_guides_every_prior_and_every_proxy(preset):
  run = edit.get_config(preset)
  assert {p.guidance_scale for p in run.priors.values()} == {10.0}
  assert {p.proxy_guidance_scale for p in run.priors.values()} == {2.0}
  assert binding.bind_config(run).priors == ('normal', 'personal')


@pytest.mark.parametrize(
  'experiment, preset, first, last, proxies',
  [
    (generate, 'paper', 1e-4, 1e-4, 2e-4),
    (generate, 'ratio_03', 1e-4, 1e-4, 0.3e-4),
    (generate, 'code_only', 3e-2, 3e-2, 6e-2),
    (edit, 'paper', 2e-4, 2e-4, 4e-4),
    (edit, 'paper_geometry', 2e-3, 2e-4, 4e-3),
  ],
)
def test_the_rates_are_the_papers(experiment, preset, first, last, proxies):
  run = experiment.get_config(preset)
  learner = run.learner
  assert learner.trainable == ('code' if preset == 'code_only' else 'all')
  rates = [
    optimizer.moving_rate_at(learner, run.num_steps, step)
    for step in (0, run.num_steps)
  ]
  assert rates == pytest.approx([first, last], rel=1e-12)
  rate = optimizer.proxy_learning_rate_at(learner, run.num_steps, 0)
  assert rate == pytest.approx(proxies, rel=1e-12)


def test_noise_levels_stay_below_point_eight_and_refining_below_point_five():
  for experiment, preset in OF_THE_PAPER:
    run = experiment.get_config(preset)
    highest = 0.5 if preset == 'refine' else 0.8
    for step in (0, run.num_steps - 1):
      drawn = score_requests.noise_range(run.noise, step, run.num_steps)
      assert drawn == pytest.approx((0.02, highest))


def test_refining_goes_on_with_a_finished_run_of_the_paper():
  before, after = generate.get_config('paper'), generate.get_config('refine')
  found = changes.find_changes(before, after)
  assert not any(change.obstacle for change in found)
  fields = [change.field for change in found]
  assert all(changes.is_below(f, ('noise', 'num_steps')) for f in fields)
  rates = [
    optimizer.learning_rate_at(run.learner, run.num_steps, 999)
    for run in (before, after)
  ]
  assert rates[0] == rates[1]


@pytest.mark.parametrize('experiment, preset', OF_THE_PAPER)
def test_without_a_nerf_of_its_size_a_run_says_how_to_make_one(
  experiment, preset, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(FileNotFoundError) as error:
    start.load_params(experiment.get_config(preset))
  text = str(error.value)
  assert "nerf_assets: 'runs/preface' is neither a directory" in text
  assert '--config.nerf_assets=DIR' in text
  assert 'mmdist pretrain --config=pretrain:preface' in text
  assert '\n' not in text


def test_the_nerf_that_pretraining_makes_is_the_one_that_is_asked_for():
  assert (
    pretrain.get_config('preface').nerf == generate.get_config('paper').nerf
  )


@pytest.mark.parametrize('experiment', (*EXPERIMENTS, trajectory))
def test_every_preset_is_described(experiment):
  described = experiment.__doc__.split('Presets:')[-1]
  for preset in experiment.PRESETS:
    assert len(experiment.PRESETS) == 1 or f'\n  {preset} ' in described
