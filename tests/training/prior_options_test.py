import json

import pytest
import torch

from mmdist.priors.training import embedded
from mmdist.training import prior_options
from tests.heads import fake_pictures


def options_of(folder, **changes):
  fake_pictures.write_shard(folder / 'data', 3)
  return prior_options.Options(
    str(folder / 'data'), str(folder / 'out'), **changes
  )


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'device': 'gpu'}, "device.*'gpu'"),
    ({'device': 'cuda'}, 'num_processes is 2; one process drives the GPU'),
    ({'device': 'cuda', 'num_processes': 1}, 'torch finds no CUDA device'),
    (
      {'widths': (48, 50)},
      'widths is 48,50; expected one to 6 multiples of 16',
    ),
    ({'widths': ()}, 'expected one to 6'),
    ({'attention': (3,)}, 'attention is 3; expected .* to 2'),
    ({'layers_per_block': 0}, 'layers_per_block is 0; expected at least 1'),
    ({'patch': 0}, 'patch is 0; expected at least 1'),
    ({'patch': 3}, 'patch is 3, and 3 widths halve the picture 2 times'),
    ({'patch': 4, 'widths': (32,) * 6}, 'patch is 4, and 6 widths halve'),
    ({'prediction': 'epsilon'}, 'prediction'),
    ({'optimizer': 'sgd'}, 'optimizer'),
  ],
)
def test_bad_options_are_refused_in_one_line(
  tmp_path, monkeypatch, changes, message
):
  monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
  with pytest.raises(ValueError, match=message) as caught:
    prior_options.checked(options_of(tmp_path, **changes))
  assert '\n' not in str(caught.value)


def prior_of(folder, name):
  """Returns a folder that says of which world its prior is."""
  folder.mkdir()
  (folder / 'mmdist.json').write_text(json.dumps({'world': name}))
  return str(folder)


@pytest.mark.parametrize(
  'changes', [{'widths': (64, 128)}, {'attention': (1, 2)}, {'patch': 4}]
)
def test_the_sizes_of_a_prior_that_goes_on_are_its_own(tmp_path, changes):
  init = prior_of(tmp_path / 'prior', 'people')
  with pytest.raises(ValueError, match=f'and init is {init}; leave one') as e:
    prior_options.checked(options_of(tmp_path, init=init, **changes))
  assert '\n' not in str(e.value)
  prior_options.checked(options_of(tmp_path, init=init))


def test_held_out_shards_have_to_be_there(tmp_path):
  with pytest.raises(FileNotFoundError, match='no shards .*nowhere'):
    prior_options.checked(
      options_of(tmp_path, held_out=str(tmp_path / 'nowhere'))
    )


def test_the_defaults_are_those_of_the_embedded_priors(tmp_path):
  asked = prior_options.architecture(options_of(tmp_path))
  assert embedded.Architecture(**asked) == embedded.Architecture()


def test_resolutions_that_attend_are_named_by_number(tmp_path):
  options = options_of(
    tmp_path, widths=(32, 64, 128), attention=(1, 2), layers_per_block=2
  )
  assert prior_options.architecture(prior_options.checked(options)) == {
    'widths': (32, 64, 128),
    'attention': (False, True, True),
    'layers_per_block': 2,
    'patch': 2,
    'prediction': 'sample',
  }
  unet = embedded._make_unet(
    embedded.Architecture(**prior_options.architecture(options))
  )
  assert unet.config.block_out_channels == (32, 64, 128)
  assert unet.config.layers_per_block == 2
  assert unet.config.down_block_types == (
    'DownBlock2D',
    'CrossAttnDownBlock2D',
    'CrossAttnDownBlock2D',
  )


def test_all_that_a_prior_is_trained_on_is_of_one_world(tmp_path, mars):
  fake_pictures.write_shard(tmp_path / 'mars', 1, world=mars)
  options = options_of(tmp_path, held_out=str(tmp_path / 'mars'))
  words = "held_out .* is of the world 'mars', and the shards of data are of"
  with pytest.raises(ValueError, match=words) as error:
    prior_options.checked(options)
  assert '\n' not in str(error.value)
  fake_pictures.write_shard(tmp_path / 'data', 2, world=mars)
  with pytest.raises(ValueError, match='worlds mars and people'):
    prior_options.checked(options_of(tmp_path))
