import json
import types

import numpy as np
import pytest

from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import prior_evaluation
from mmdist.evaluation import train_judge
from mmdist.heads import sentences
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import sample
from tests.heads import fake_pictures
from tests.priors import tiny

PEOPLE = worlds.get('people')


@pytest.fixture(scope='module')
def judge():
  questions = tuple(
    judge_lib.Question(**question) for question in PEOPLE.questions.questions()
  )
  judge = train_judge.init_judge(questions, 0)
  judge.world = PEOPLE
  return judge


class Pipeline:
  """A prior that draws 64 pixels."""

  image_size = judge_lib.IMAGE_SIZE
  settings = {}  # Of no embedded world.


def test_every_caption_names_a_combination_that_no_prior_saw():
  questions = prior_evaluation.make_questions(PEOPLE, 16, 0)
  held_out = PEOPLE.attributes.held_out
  for i, text in enumerate(questions.texts):
    asked = PEOPLE.captions.parse(text)
    assert held_out[i % len(held_out)].items() <= asked.items()
    assert asked.get('view') in (None, *prior_evaluation.VIEW_WORDS)
    person = questions.people[i].attributes
    PEOPLE.attributes.check(person)
    assert PEOPLE.attributes.is_held_out(person)
  assert set(questions.views.words) == set(prior_evaluation.VIEW_WORDS)


def test_the_questions_of_a_seed_are_the_same():
  texts = [
    prior_evaluation.make_questions(PEOPLE, 8, seed).texts for seed in (3, 3, 4)
  ]
  assert texts[0] == texts[1] != texts[2]


def test_a_prior_that_draws_the_truth_reaches_it(judge, monkeypatch):
  def draw(pipeline, texts, guidance_scale, num_steps, seed):
    assert (guidance_scale, num_steps, seed) == (3.0, 7, 5)
    truth = fake_pictures.render_heads(
      PEOPLE, texts, None, judge_lib.IMAGE_SIZE
    )
    return truth.over(np.full(3, prior_evaluation.agreement.BACKGROUND))

  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  monkeypatch.setattr(sample, 'sample', draw)
  questions = prior_evaluation.make_questions(PEOPLE, 8, 0)
  row, pictures = prior_evaluation.evaluate(
    Pipeline(), judge, questions, 3.0, 7, 5
  )
  assert row['prompt_agreement'] == row['true_render_agreement']
  assert row['per_attribute'] == row['true_per_attribute']
  assert pictures.shape == (16, 64, 64, 3)
  lines = prior_evaluation.format_row(row).splitlines()
  assert len(lines) == 4 + len(row['per_attribute'])
  json.dumps(row)


def test_clay_is_lit_by_its_normals_before_a_plain_background():
  normals = np.full((1, 2, 2, 3), 0.5, np.float32)
  normals[0, 0, 0] = clay.LIGHT / 2 + 0.5  # Towards the light,
  normals[0, 0, 1] = -clay.LIGHT / 2 + 0.5  # and away from it.
  picture = clay.light(normals)[0]
  np.testing.assert_allclose(picture[0, 0], clay.COLOR, atol=1e-3)
  np.testing.assert_allclose(picture[0, 1], 0.35 * clay.COLOR, atol=1e-3)
  np.testing.assert_allclose(picture[1], 0.75, atol=1e-6)


def test_a_normal_prior_is_asked_in_its_own_words_about_shapes(
  judge, monkeypatch
):
  def draw(pipeline, texts, guidance_scale, num_steps, seed):
    assert all(text.startswith(sentences.NORMAL_PREFIX) for text in texts)
    return np.full((len(texts), 64, 64, 3), 0.5, np.float32)

  monkeypatch.setattr(sample, 'sample', draw)
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  questions = prior_evaluation.make_questions(PEOPLE, 8, 0, 'normal')
  row, pictures = prior_evaluation.evaluate(
    Pipeline(), judge, questions, 3.0, 7, 5, 'normal'
  )
  assert set(row['per_attribute']) <= set(PEOPLE.questions.geometry)
  assert np.all(pictures[:8] == 0.5)  # Sheets show what it draws.


def test_a_prior_of_other_pictures_is_refused(judge, tmp_path):
  pipeline = pipelines.open_pipeline(
    tiny.write_pipeline(tmp_path), device='cpu'
  )
  questions = prior_evaluation.make_questions(PEOPLE, 1, 0)
  with pytest.raises(ValueError, match='draws 16 x 16 pixels, the judge reads'):
    prior_evaluation.evaluate(pipeline, judge, questions, 4.0, 2, 0)


def test_samples_lie_above_their_renders():
  pictures = np.arange(10).reshape(10, 1)
  order = prior_evaluation._interleaved(pictures, 2)[:, 0].tolist()
  assert order == [0, 1, 5, 6, 2, 3, 7, 8, 4, 9]


def test_a_sheet_is_written_if_it_is_asked_for(judge, tmp_path, monkeypatch):
  def draw(pipeline, texts, guidance_scale, num_steps, seed):
    return np.full((len(texts), 64, 64, 3), 0.5, np.float32)

  monkeypatch.setattr(sample, 'sample', draw)
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  monkeypatch.setattr(pipelines, 'open_pipeline', lambda *_: Pipeline())
  monkeypatch.setattr(judge_lib, 'load', lambda folder: judge)
  options = prior_evaluation.Options(num=2, sheet=str(tmp_path / 'sheet.png'))
  row = prior_evaluation.evaluate_prior('color', options)
  assert 0 <= row['share_of_true'] and (tmp_path / 'sheet.png').exists()


def test_a_prior_and_its_judge_are_of_one_world(judge, mars, monkeypatch):
  def world_of(settings):
    pipeline = types.SimpleNamespace(settings=settings)
    return prior_evaluation.check_worlds('prior', pipeline, 'judge', judge)

  assert world_of({}) is PEOPLE  # Nobody says anything else.
  assert world_of({'world': 'people'}) is PEOPLE
  words = (
    "prior prior is of the world 'mars', and judge judge of 'people'; give"
  )
  with pytest.raises(ValueError, match=words):
    world_of({'world': 'mars'})
  monkeypatch.setattr(judge, 'world', mars)
  assert world_of({'world': 'mars'}) is mars
  monkeypatch.setattr(judge, 'world', worlds.get(worlds.DEFAULT))
  assert world_of({'image_size': 64}) is judge.world
