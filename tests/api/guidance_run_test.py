"""Runs whose priors have each another kind of guidance."""

import jax
import numpy as np
import pytest

import mmdist
from mmdist.config import validation
from mmdist.core import guidance_kinds
from tests.learner import tiny_field
from tests.priors import tiny

MAN = 'a happy man'


@pytest.fixture(name='directory', scope='module')
def fixture_directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior'))


def make(workdir, priors, num_steps=4, what=MAN, **options) -> mmdist.Run:
  config = mmdist.RunConfig(num_steps=num_steps)
  config.views.num_views, config.views.resolution = 2, 8
  config.views.use_view_words = False
  config.learner.learning_rate = 0.05
  config.checkpoints.every = 2
  config.results.preview_every = 0
  config.results.turntable_views = 2
  config.results.resolution = config.results.mesh_resolution = 16
  config.results.texture_size = 0
  return mmdist.optimize(
    what,
    workdir,
    config=config,
    priors=priors,
    representation=tiny_field.tiny_field(),
    executor='inline',
    **options,
  )


def test_kinds_are_mixed_and_an_interrupted_run_ends_the_same(
  directory, tmp_path
):
  priors = {
    kind: mmdist.Prior(
      str(directory), objective=kind, negative_prompt='a red hat'
    )
    for kind in guidance_kinds.KINDS
  }
  what = mmdist.avatar(MAN) - 0.3 * mmdist.avatar(
    'green skin', negative_prompt='a hat'
  )

  def stop(step):
    if step.number == 1:
      step.stop()

  whole = make(tmp_path / 'whole', priors, what=what)
  stopped = make(tmp_path / 'parts', priors, what=what, on_step=stop)
  assert not stopped.is_finished
  parts = make(tmp_path / 'parts', priors, what=what)
  assert (whole.step, parts.step) == (4, 4)
  jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
  for row in whole.metrics:
    for kind in guidance_kinds.KINDS:
      assert row[f'cotangent_norm/{kind}'] > 0
  # Only VSD fits a proxy.
  fitted = [name for name in whole.metrics[-1] if 'proxy_loss' in name]
  assert fitted and all('vsd' in name for name in fitted)


@pytest.mark.parametrize(
  'options, message',
  [
    (
      {'objective': 'dds'},
      'priors.one.objective=dds compares with .*; expected '
      "priors.one.negative_prompt, or one of the concept 'a happy man'",
    ),
    (
      {'objective': 'sdi', 'noising': 'random'},
      'priors.one.noising is random; expected inverted, of which sdi is made',
    ),
    (
      {'objective': 'dds', 'noising': 'inverted', 'negative_prompt': 'a hat'},
      'priors.one.noising is inverted; expected random',
    ),
    (
      {'objective': 'nfsd'},  # Its own negative text is not for tiny priors.
      'unrealistic',
    ),
    ({'objective': 'csd', 'negative_prompt': 'a dragon'}, 'dragon'),
    ({'objective': 'isn'}, "did you mean 'ism'"),
    ({'negative_schedule': 'linear(1'}, 'linear'),
    # Neither is here where the tests of CPUs run.
    ({'device': 'mps'}, "priors.one: device is 'mps' and torch finds no GPU"),
    ({'device': 'cuda:77'}, "priors.one: device is 'cuda:77' and torch finds"),
    ({'device': 'tpu'}, "device is 'tpu'; expected auto, cpu"),
    ({'objective': 'bridge', 'first_stage': 1.5}, 'first_stage is 1.5'),
  ],
)
def test_a_kind_that_lacks_something_is_one_line_and_leaves_nothing(
  directory, tmp_path, options, message
):
  prior = mmdist.Prior(str(directory), **options)
  with pytest.raises(ValueError, match=message) as error:
    make(tmp_path / 'run', {'one': prior})
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('kind', ['ism', 'sdi', 'csd'])
def test_a_network_that_predicts_images_cannot_lead_them_up(tmp_path, kind):
  directory = tiny.write_pipeline(tmp_path / 'prior', 'sample')
  prior = mmdist.Prior(
    str(directory), objective=kind, noising='inverted', negative_prompt='hat'
  )
  line = 'scheduler_config.json has prediction_type sample.*random noise'
  with pytest.raises(ValueError, match=line):
    make(tmp_path / 'run', {'one': prior})
  assert not (tmp_path / 'run').exists()


def test_several_hosts_do_not_render_the_start():
  config = mmdist.RunConfig()
  config.learner.num_hosts = 2
  config.priors['generic'].objective = 'dds'
  with pytest.raises(ValueError, match='num_hosts is 2; expected 1 with dds'):
    validation.validate(config)
