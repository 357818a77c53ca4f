"""What `mmdist.personalize` hands back, and what it refuses."""

import dataclasses

import pytest

import mmdist
from mmdist.api import personalizing
from mmdist.training import personalization


@pytest.mark.parametrize(
  'prompt, kind, template',
  [
    ('a [v] portrait of a woman', None, 'a [v] portrait of {target}'),
    ('a [x] portrait of a dog', 'photos', 'a [x] portrait of {target}'),
    ('a portrait of sks', None, '{prompt}'),
  ],
)
def test_the_identifier_is_said_whatever_is_asked(prompt, kind, template):
  prior = personalizing.prior_of('priors/me', prompt, kind)
  assert prior.prompt_template == template
  assert (prior.directory, prior.channel) == ('priors/me', 'rgb')
  # A proxy that is guided as well, as MagicMirror edits (A.4).
  assert (prior.guidance_scale, prior.proxy_guidance_scale) == (10.0, 2.0)


def test_a_prior_of_normals_looks_at_normals():
  prior = personalizing.prior_of(
    'priors/normal', 'a [w] face map of a person', 'normal'
  )
  assert prior.channel == 'normal'
  assert prior.prompt_template == 'a [w] face map of {target}'


def test_what_was_asked_reaches_the_training(monkeypatch, tmp_path):
  asked = {}

  def train(options, report):
    asked.update(dataclasses.asdict(options))

  monkeypatch.setattr(personalization, 'train', train)
  prior = mmdist.personalize(
    tmp_path, prompt='a [v] portrait of a man', out=tmp_path / 'me', seed=3
  )
  assert prior.directory == str(tmp_path / 'me')
  assert (asked['images'], asked['seed']) == (str(tmp_path), 3)
  assert (asked['kind'], asked['num_steps']) == ('photos', 0)


def test_photos_or_a_subject_are_needed(tmp_path):
  with pytest.raises(mmdist.errors.UserError, match='either photos or a subj'):
    mmdist.personalize(prompt='a [v] portrait of a man', out=tmp_path / 'me')
