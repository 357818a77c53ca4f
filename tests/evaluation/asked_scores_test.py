import types

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.evaluation import agreement
from mmdist.evaluation import asked_scores
from mmdist.evaluation import clip as clip_lib
from mmdist.evaluation import known_heads
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.nerf import field
from mmdist.nerf import images as nerf_images
from mmdist.run import opening
from tests.evaluation import tiny_clip
from tests.heads import fake_pictures
from tests.results import quick_nerf

PEOPLE = worlds.get('people')

NERF = schema.NerfConfig(code_size=4, nerf_depth=2, nerf_width=8)
PROMPT = 'a portrait of a sad man'
OTHERS = ('a happy woman', 'a green hat', PROMPT, 'an old man', 'eyes')


@pytest.fixture(autouse=True, scope='module')
def _quick():
  with quick_nerf.quick():
    yield


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tiny_clip.write_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture(scope='module')
def avatar():
  representation = field.conditional_nerf(NERF)
  params = representation.init(jax.random.key(0))
  run = schema.RunConfig(prompt=PROMPT, nerf=NERF)
  return opening.Avatar(None, run, representation, params, 1)


def options(**changes):
  values = dict.fromkeys(
    ('clip', 'pickscore', 'prompts', 'truth', 'subject'), ''
  )
  return types.SimpleNamespace(**(values | changes))


def measure(asked, avatar, shown=None):
  attributes = known_heads.asked_attributes(PEOPLE, PROMPT)
  return asked_scores.measure(
    asked, None, avatar, avatar.params, PROMPT, attributes, shown
  )


def expected_cosines(folder, avatar, texts):
  """What transformers says of the five portraits."""
  pictures = nerf_images.render_images(
    avatar.representation,
    avatar.params,
    agreement.portrait_views(),
    tiny_clip.IMAGE_SIZE,
    np.full(3, agreement.BACKGROUND),
  )['rgb']
  return tiny_clip.expected_cosines(folder, pictures, list(texts))


def test_nothing_is_measured_unless_it_is_asked(avatar):
  assert measure(asked_scores.NOTHING, avatar) == {}
  assert (
    asked_scores.open_asked(options(), PEOPLE, [], 16) == asked_scores.NOTHING
  )


def test_clip_score_and_r_precision_are_those_of_transformers(folder, avatar):
  asked = asked_scores.Asked(clip=clip_lib.load(folder), prompts=OTHERS)
  row = measure(asked, avatar)
  cosines = expected_cosines(folder, avatar, OTHERS)
  own = cosines[:, OTHERS.index(PROMPT)]
  # Float32.
  assert row['clip_score'] == pytest.approx(
    100 * np.maximum(own, 0).mean(), abs=1e-3
  )
  nearest = [OTHERS[i] == PROMPT for i in cosines.argmax(1)]
  assert row['r_precision'] == np.mean(nearest)


def test_pickscore_is_the_logit_of_transformers(folder, avatar):
  row = measure(asked_scores.Asked(pickscore=clip_lib.load(folder)), avatar)
  cosines = expected_cosines(folder, avatar, [PROMPT])[:, 0]
  logits = np.exp(tiny_clip.LOGIT_SCALE) * cosines
  np.testing.assert_allclose(row['pickscore_per_view'], logits, atol=1e-3)
  assert row['pickscore'] == pytest.approx(logits.mean(), abs=1e-3)


def test_one_prompt_has_no_r_precision(folder, avatar):
  asked = asked_scores.open_asked(
    options(clip=str(folder)), PEOPLE, [PROMPT] * 2, 16
  )
  assert measure(asked, avatar)['r_precision'] is None


def test_prompts_are_those_of_all_runs_or_of_a_file(folder, tmp_path):
  flags = options(clip=str(folder))
  prompts = ['a man', 'a hat', 'a man']
  asked = asked_scores.open_asked(flags, PEOPLE, prompts, 16)
  assert asked.prompts == ('a man', 'a hat')
  (tmp_path / 'texts').write_text('one \n\n two\n')
  flags.prompts = str(tmp_path / 'texts')
  asked = asked_scores.open_asked(flags, PEOPLE, prompts, 16)
  assert asked.prompts == ('one', 'two')


def test_prompts_that_cannot_be_read_are_refused(folder, tmp_path):
  with pytest.raises(ValueError, match='r_precision; expected --clip=DIR too'):
    asked_scores.open_asked(options(prompts='texts'), PEOPLE, [], 16)
  with pytest.raises(FileNotFoundError, match='--prompts=nowhere is no file'):
    asked_scores.read_prompts('nowhere')
  (tmp_path / 'empty').write_text('\n')
  with pytest.raises(ValueError, match='is empty; expected a text a line'):
    asked_scores.read_prompts(str(tmp_path / 'empty'))


def test_a_run_that_is_the_truth_has_no_error(avatar, monkeypatch):
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  asked = asked_scores.open_asked(options(truth='5:2'), PEOPLE, [], 16)
  assert asked.truth['rgb'].shape == (len(agreement.judging_views()), 16, 16, 3)
  empty = asked.truth['rgb'][:, 0]  # The background's rows.
  np.testing.assert_allclose(empty, agreement.BACKGROUND)
  row = measure(asked, avatar, asked.truth)
  assert row['ssim'] == pytest.approx(1)
  darker = dict(asked.truth, rgb=asked.truth['rgb'] - 0.1)
  # A mean square of 0.01.
  assert measure(asked, avatar, darker)['psnr'] == pytest.approx(20, abs=1e-4)


def row(run, prompt, *scores):
  return {'run': run, 'prompt': prompt, 'pickscore_per_view': list(scores)}


def test_runs_are_compared_with_the_first_of_their_prompt():
  rows = [
    row('a', 'man', 1.0, 1.0),
    row('b', 'hat', 5.0, 5.0),
    row('c', 'man', 1.0, 1.0 + np.log(3)),
    row('d', 'man', -1000.0, -1000.0),
  ]
  asked_scores.add_preferences(rows)
  over = [r['preferred_over'] for r in rows]
  assert over == [None, None, 'a', 'a']
  # Odds of 1 : 1 and of 3 : 1.
  assert rows[2]['preference_rate'] == pytest.approx((1 / 2 + 3 / 4) / 2)
  assert rows[2]['preferred_share'] == 0.75
  assert rows[3]['preference_rate'] == rows[3]['preferred_share'] == 0
  assert rows[0]['preference_rate'] is None
