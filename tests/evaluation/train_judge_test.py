import numpy as np
import pytest
import torch

from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import train_judge

QUESTIONS = (
  judge_lib.Question('skin', ('green', 'red'), ('front', 'side')),
  judge_lib.Question('horns', ('False', 'True'), ('front', 'back')),
  judge_lib.Question('view', ('front', 'back', 'side'), ('front', 'back')),
)
COLORS = {'green': (40, 200, 40), 'red': (200, 40, 40)}


def rng():
  return np.random.default_rng(0)


def pictures(count=32):
  """Green and red discs, seen from the front; nothing told of the rest."""
  y, x = np.mgrid[:64, :64] - 31.5
  disc = (x * x + y * y < 24**2)[..., None]
  rgba = np.zeros((count, 64, 64, 4), np.uint8)
  labels = np.full((count, len(QUESTIONS)), train_judge.UNKNOWN)
  for i in range(count):
    color = (*COLORS[QUESTIONS[0].values[i % 2]], 255)
    rgba[i] = disc * np.array(color)
    labels[i, 0] = i % 2
  return train_judge.LabelledPictures(rgba, labels)


def small_judge(seed=0):
  with torch.random.fork_rng():
    torch.manual_seed(seed)
    net = judge_lib.JudgeNet((2, 2, 3), width=8)
  return judge_lib.Judge(QUESTIONS, net)


# Labels.


def test_labels_are_the_numbers_of_the_values():
  labels = train_judge.label_pictures(
    QUESTIONS, [{'skin': 'red', 'horns': True}], ['front']
  )
  np.testing.assert_array_equal(labels, [[1, 1, 0]])
  assert labels.dtype == np.int64


def test_what_a_view_cannot_show_is_unknown():
  labels = train_judge.label_pictures(
    QUESTIONS, [{'skin': 'red', 'horns': False}] * 2, ['back', 'side']
  )
  unknown = train_judge.UNKNOWN
  np.testing.assert_array_equal(
    labels, [[unknown, 0, 1], [1, unknown, unknown]]
  )


def test_the_colour_of_what_is_not_there_is_unknown():
  labels = train_judge.label_pictures(QUESTIONS, [{'horns': False}], ['front'])
  assert labels[0, 0] == train_judge.UNKNOWN


def test_attributes_and_views_must_be_as_many():
  with pytest.raises(ValueError):
    train_judge.label_pictures(QUESTIONS, [{}], ['front', 'back'])


# Training.


def test_two_plain_classes_are_learned_in_a_moment():
  judge = small_judge()
  losses = []
  training = train_judge.JudgeTraining(num_steps=25, batch_size=4)
  train_judge.train(
    judge, pictures(), training, lambda step, loss: losses.append(loss)
  )
  found = train_judge.accuracy(judge, pictures(10), batch_size=4)
  assert found['skin'] > 0.9
  assert found['horns'] == found['view'] == 0.0  # Never asked.
  assert len(losses) == 25 and losses[-1] < losses[0]
  assert not judge.net.training


def test_the_seed_decides_a_training_and_nothing_else_is_drawn():
  training = train_judge.JudgeTraining(num_steps=2, batch_size=2, seed=4)
  before = torch.get_rng_state()
  ends = []
  for _ in range(2):
    judge = small_judge()
    train_judge.train(judge, pictures(4), training)
    ends.append(judge.net.state_dict())
  assert torch.equal(torch.get_rng_state(), before)
  for name, weight in ends[0].items():
    assert torch.equal(weight, ends[1][name])


def test_the_seed_decides_the_first_weights():
  first, again, other = (
    train_judge.init_judge(QUESTIONS, seed).net.body.weight
    for seed in (1, 1, 2)
  )
  assert torch.equal(first, again) and not torch.equal(first, other)


def test_accuracy_is_the_share_of_right_answers():
  judge = small_judge()
  answers = np.tile([0.9, 0.1], (10, 1))  # Always green.
  rest = {'horns': answers, 'view': np.zeros((10, 3))}
  judge.probabilities = lambda images: {'skin': answers[: len(images)], **rest}
  labels = np.full((10, 3), train_judge.UNKNOWN)
  labels[:8, 0] = [0, 0, 1, 0, 1, 0, 0, 0]
  rgba = pictures(10).rgba
  found = train_judge.accuracy(
    judge, train_judge.LabelledPictures(rgba, labels)
  )
  assert found['skin'] == 6 / 8


def test_unknown_labels_pull_at_nothing():
  judge = small_judge()
  pixels = torch.zeros(2, 3, 64, 64)
  judge.net.eval()  # No dropout: both losses see the same network.
  labels = torch.tensor([[0, -1, -1], [-1, -1, 2]])
  parts = judge.split(judge.net(pixels))
  weights = torch.tensor([3.0, 1.0, 1.0])
  loss = train_judge._loss(parts, labels, weights)
  smooth = [0.02 / 2, 0.02 / 3]
  first = torch.log_softmax(parts[0][0], -1)
  second = torch.log_softmax(parts[2][1], -1)
  expected = -3 * (0.98 * first[0] + smooth[0] * first.sum())
  expected -= 0.98 * second[2] + smooth[1] * second.sum()
  torch.testing.assert_close(loss, expected / 4)
  nothing = train_judge._loss(parts, torch.full((2, 3), -1), weights)
  assert nothing.item() == 0.0


def test_half_of_each_batch_can_answer_the_hard_question(monkeypatch):
  shown = []

  def disturb(rgba, rng, background):
    shown.append(rgba[:, 32, 32, 3] > 0)
    return torch.zeros(len(rgba), 3, 64, 64)

  monkeypatch.setattr(train_judge, 'disturb', disturb)
  few = pictures(40)
  few.labels[2:, 0] = train_judge.UNKNOWN
  few.rgba[2:] = 0
  training = train_judge.JudgeTraining(
    num_steps=3, batch_size=8, hard_question='skin'
  )
  train_judge.train(small_judge(), few, training)
  assert all(seen[:4].all() for seen in shown)
  assert not all(seen[4:].all() for seen in shown)


# Augmentation.


def test_disturbed_pictures_keep_shape_range_and_colour():
  data = pictures(8)
  pixels = train_judge.disturb(data.rgba, rng(), (0.2, 1.0))
  assert pixels.shape == (8, 3, 64, 64) and pixels.dtype == torch.float32
  assert pixels.min() >= -1 and pixels.max() <= 1
  middle = pixels[:, :, 24:40, 24:40].mean((2, 3))
  assert (middle[::2].argmax(-1) == 1).all()
  assert (middle[1::2].argmax(-1) == 0).all()


def test_backgrounds_are_greys_of_the_given_range():
  rgba = np.zeros((200, 8, 8, 4), np.uint8)
  grey = (train_judge.disturb(rgba, rng(), (0.6, 0.6)) + 1) / 2
  # Tinted by 0.85 to 1.12, shifted by 0.05, and a little noise on top.
  means = grey.mean((1, 2, 3))
  assert means.min() > 0.45 and means.max() < 0.75
  assert means.std() > 0.02


def test_the_rng_decides_the_disturbance():
  data = pictures(4)
  first, second = (
    train_judge.disturb(data.rgba, np.random.default_rng(5), (0.2, 1.0))
    for _ in range(2)
  )
  other = train_judge.disturb(data.rgba, rng(), (0.2, 1.0))
  assert torch.equal(first, second) and not torch.equal(first, other)
