import json

import numpy as np
import pytest
import torch

from mmdist.evaluation import judge as judge_lib
from mmdist.heads import worlds

CLAY, PEOPLE = worlds.get('clay'), worlds.get('people')

QUESTIONS = (
  judge_lib.Question('skin', ('green', 'red', 'blue'), ('front',)),
  judge_lib.Question('hat', ('', 'hat'), ('front', 'back')),
)


@pytest.fixture
def judge(monkeypatch):
  """A narrow judge; `load` builds narrow ones, too."""
  original = judge_lib.JudgeNet
  monkeypatch.setattr(
    judge_lib, 'JudgeNet', lambda num_values: original(num_values, width=8)
  )
  with torch.random.fork_rng():
    torch.manual_seed(0)
    net = judge_lib.JudgeNet((3, 2))
  weights = {k: v.half().float() for k, v in net.state_dict().items()}
  net.load_state_dict(weights)  # As the files hold them.
  return judge_lib.Judge(QUESTIONS, net, {'seed': 3}, PEOPLE)


def images(count=3, size=64, seed=0):
  return np.random.default_rng(seed).uniform(size=(count, size, size, 3))


def test_probabilities_are_those_of_each_question(judge):
  answers = judge.probabilities(images(5))
  assert {name: p.shape for name, p in answers.items()} == {
    'skin': (5, 3),
    'hat': (5, 2),
  }
  for p in answers.values():
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)


def test_a_picture_is_judged_alone(judge):
  many, one = images(4), images(4)[2:3]
  answers = judge.probabilities(many), judge.probabilities(one)
  # Convolutions over other batch sizes sum in another order.
  np.testing.assert_allclose(
    answers[0]['skin'][2], answers[1]['skin'][0], atol=1e-5
  )


def test_judging_draws_nothing_even_after_training(judge):
  judge.net.train()  # Dropout.
  first = judge.probabilities(images())
  np.testing.assert_array_equal(
    first['hat'], judge.probabilities(images())['hat']
  )


def test_pictures_of_other_sizes_are_seen_at_64_pixels(judge):
  small = images(2)
  large = small.repeat(2, 1).repeat(2, 2)
  a, b = judge.probabilities(small), judge.probabilities(large)
  # The filter that shrinks is a little wider than a pixel pair.
  np.testing.assert_allclose(a['skin'], b['skin'], atol=0.05)


def test_pictures_of_a_wrong_shape_are_refused(judge):
  with pytest.raises(ValueError, match='images'):
    judge.probabilities(np.zeros((64, 64, 3)))


def test_a_judge_is_opened_as_it_was_saved(judge, tmp_path):
  judge_lib.save(judge, tmp_path / 'judge')
  opened = judge_lib.load(tmp_path / 'judge')
  assert opened.questions == QUESTIONS and opened.record == {'seed': 3}
  first, second = (j.probabilities(images()) for j in (judge, opened))
  for name in first:
    np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize('name', ['judge.json', 'judge.safetensors'])
def test_a_missing_file_is_named(judge, tmp_path, name):
  judge_lib.save(judge, tmp_path)
  (tmp_path / name).unlink()
  with pytest.raises(FileNotFoundError, match=f'{name} is missing; train'):
    judge_lib.load(tmp_path)


def swap_question(path):
  content = json.loads(path.read_text())
  content['questions'][0]['values'].append('purple')
  path.write_text(json.dumps(content))


@pytest.mark.parametrize(
  'damage',
  [
    lambda folder: (folder / 'judge.safetensors').write_bytes(b'short'),
    lambda folder: (folder / 'judge.json').write_text('{"questions": ['),
    lambda folder: (folder / 'judge.json').write_text('{"record": {}}'),
    lambda folder: (folder / 'judge.json').write_text('[]'),
    lambda folder: swap_question(folder / 'judge.json'),
  ],
)
def test_a_damaged_judge_is_one_line(judge, tmp_path, damage):
  judge_lib.save(judge, tmp_path)
  damage(tmp_path)
  with pytest.raises(ValueError, match=r'is corrupt \(.+\); train') as error:
    judge_lib.load(tmp_path)
  assert '\n' not in str(error.value)


def test_the_embedded_judge_has_a_head_for_every_question():
  questions = tuple(
    judge_lib.Question(**question) for question in PEOPLE.questions.questions()
  )
  judge = judge_lib.Judge(questions)
  parts = judge.split(judge.net(torch.zeros(1, 3, 64, 64)))
  assert [p.shape[-1] for p in parts] == [len(q.values) for q in questions]


def test_a_judge_remembers_its_world(judge, mars, tmp_path):
  for world in (PEOPLE, mars):
    judge.world = world
    judge_lib.save(judge, tmp_path)
    assert judge_lib.load(tmp_path).world is world


def test_a_judge_without_a_world_is_of_clay(judge, tmp_path):
  judge_lib.save(judge, tmp_path)
  path = tmp_path / 'judge.json'
  content = json.loads(path.read_text())
  assert content.pop('world') == 'people'
  path.write_text(json.dumps(content))
  assert judge_lib.load(tmp_path).world is CLAY
  assert judge_lib.Judge(QUESTIONS, judge.net).world is CLAY


def test_a_judge_of_an_unknown_world_is_one_line(judge, tmp_path):
  judge_lib.save(judge, tmp_path)
  path = tmp_path / 'judge.json'
  path.write_text(path.read_text().replace('"people"', '"pluto"'))
  words = f"world is 'pluto'.*{', '.join(worlds.NAMES)}"
  with pytest.raises(ValueError, match=words) as error:
    judge_lib.load(tmp_path)
  assert '\n' not in str(error.value)
