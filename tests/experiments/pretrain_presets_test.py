"""The presets of a pretraining: how many subjects, and how large a NeRF."""

import dataclasses
import math

import jax
import pytest

from experiments import pretrain as experiment
from launchers import command_line
from launchers import pretrain as launcher
from mmdist.config import schema
from mmdist.config import validation
from mmdist.heads import worlds
from mmdist.learner import pretrain
from mmdist.nerf import field

# World, all subjects, those that are kept aside, cameras.
COUNTS = {
  'heads': ('clay', 360, 8, 14),
  'one_subject': ('clay', 1, 0, 14),
  'few_subjects': ('clay', 64, 8, 14),
  'people': ('people', 1008, 8, 19),
  'people_one': ('people', 1, 0, 19),
  'people_few': ('people', 64, 8, 19),
  'people_large': ('people', 1008, 8, 19),
  'preface': ('clay', 360, 8, 14),  # Of pictures, the folder's.
}


def num_parameters(config):
  """Counts what `config`'s NeRF is made of, without drawing it."""
  representation = field.conditional_nerf(config)
  shapes = jax.eval_shape(representation.init, jax.random.key(0))
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def test_the_counts_of_every_preset_are_known():
  found = {}
  for preset in experiment.PRESETS:
    config = experiment.get_config(preset)
    subjects = (config.num_subjects, config.num_unseen_subjects)
    found[preset] = (config.world, *subjects, config.num_cameras)
  assert found == COUNTS


@pytest.mark.parametrize('preset', experiment.PRESETS)
def test_a_preset_can_be_trained_and_a_run_can_start_from_it(preset):
  words = ['pretrain', f'--config=pretrain:{preset}', '--out=runs/x']
  command = launcher.COMMAND
  config, _ = command_line.parse(words, command.options, command.config)
  assert config == experiment.get_config(preset)
  pretrain.check(config)
  # It refuses a batch that cannot be cut into chunks.
  pretrain.make_pretraining(field.conditional_nerf(config.nerf), config)
  assert config.num_subjects - config.num_unseen_subjects >= 1
  assert config.resolution % 4 == 0
  validation.validate(schema.RunConfig(nerf=config.nerf))


@pytest.mark.parametrize('preset', experiment.PRESETS)
def test_one_camera_beyond_the_rig_is_held_out(preset):
  config = experiment.get_config(preset)
  rig = worlds.get(config.world).rig
  assert config.num_cameras == len(rig) + 1


def test_people_have_expressions_and_heads_of_clay_have_none():
  expressive = {
    preset
    for preset in experiment.PRESETS
    if experiment.get_config(preset).expressive
  }
  assert expressive == {p for p in COUNTS if COUNTS[p][0] == 'people'}


def test_large_people_fit_into_an_asset_of_25_mb():
  config = experiment.get_config('people_large')
  networks = num_parameters(config.nerf)
  assert 4e6 <= networks <= 6e6
  known = config.num_subjects - config.num_unseen_subjects
  total = networks + known * config.nerf.code_size
  # As `pretrained.save` writes them, in float32; half of it in float16.
  assert 4 * total <= 25e6


def test_large_people_differ_from_people_in_size_and_optimisation_alone():
  people, large = map(experiment.get_config, ('people', 'people_large'))
  assert large.resolution == 128
  differing = {
    field.name
    for field in dataclasses.fields(people)
    if getattr(people, field.name) != getattr(large, field.name)
  }
  assert differing == {
    'nerf',
    'resolution',
    'num_steps',
    'batch_size',
    'chunk_size',
    'learning_rate',
  }


def test_flags_of_one_configuration_do_not_change_the_next():
  experiment.get_config('people_large').nerf.nerf_width = 8
  assert experiment.get_config('people_large').nerf.nerf_width == 640
  assert field.PRESETS['people_large'].nerf_width == 640


def test_every_preset_is_described():
  described = experiment.__doc__.split('Presets:')[-1]
  assert all(f'\n  {preset} ' in described for preset in experiment.PRESETS)
