import pytest

from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import train_judge
from mmdist.run import locks
from mmdist.training import judge_training
from tests.heads import fake_pictures


def write_data(folder, num_shards):
  for number in range(1, num_shards + 1):
    fake_pictures.write_shard(folder, number)
  return folder


@pytest.fixture
def _small(monkeypatch):
  """Narrow judges, and shards of eight pixels enlarged: judges see 64."""
  original = train_judge.init_judge

  def init_judge(questions, seed):
    judge = original(questions, seed)
    net = judge_lib.JudgeNet(tuple(len(q.values) for q in questions), width=8)
    return judge_lib.Judge(judge.questions, net)

  monkeypatch.setattr(train_judge, 'init_judge', init_judge)
  disturb = train_judge.disturb
  monkeypatch.setattr(
    train_judge,
    'disturb',
    lambda rgba, *rest: disturb(rgba.repeat(8, 1).repeat(8, 2), *rest),
  )


def open_judge(folder, monkeypatch):
  net = judge_lib.JudgeNet
  monkeypatch.setattr(judge_lib, 'JudgeNet', lambda n: net(n, width=8))
  return judge_lib.load(folder)


@pytest.mark.usefixtures('_small')
def test_a_judge_is_trained_tested_and_saved(tmp_path, monkeypatch):
  said = []
  options = judge_training.Options(
    data=str(write_data(tmp_path / 'data', 3)),
    out=str(tmp_path / 'judge'),
    num_steps=2,
    seed=1,
  )
  accuracy = judge_training.train(options, said.append)
  record = open_judge(tmp_path / 'judge', monkeypatch).record
  assert (record['num_pictures'], record['num_held_out']) == (8, 4)
  assert set(record['held_out_accuracy']) >= {'skin', 'expression', 'view'}
  assert record['held_out_accuracy'] == accuracy
  assert said[0].startswith('step 0 loss')


@pytest.mark.usefixtures('_small')
def test_a_judge_asks_about_the_world_of_its_shards(
  tmp_path, monkeypatch, mars
):
  for number in (1, 2):
    fake_pictures.write_shard(tmp_path / 'data', number, world=mars)
  options = judge_training.Options(
    data=str(tmp_path / 'data'), out=str(tmp_path / 'judge'), num_steps=1
  )
  judge_training.train(options)
  judge = open_judge(tmp_path / 'judge', monkeypatch)
  assert judge.world is mars
  names = [question.name for question in judge.questions]
  assert names == list(mars.questions.visible_from)
  assert {'kind', 'age', 'freckles'} <= set(names)


def test_a_judge_learns_of_one_world_at_a_time(tmp_path, mars):
  write_data(tmp_path / 'data', 2)
  fake_pictures.write_shard(tmp_path / 'data', 3, world=mars)
  options = judge_training.Options(
    data=str(tmp_path / 'data'), out=str(tmp_path / 'judge')
  )
  with pytest.raises(ValueError, match='worlds mars and people'):
    judge_training.train(options)
  assert not (tmp_path / 'judge').exists()


def test_one_shard_is_not_enough(tmp_path):
  data = write_data(tmp_path / 'data', 1)
  with pytest.raises(ValueError, match='the judge needs two'):
    judge_training.train(
      judge_training.Options(
        data=str(data), out=str(tmp_path / 'judge'), num_steps=2
      )
    )
  assert not (tmp_path / 'judge').exists()


def test_two_do_not_train_in_one_folder(tmp_path):
  options = judge_training.Options(
    data=str(write_data(tmp_path / 'data', 2)),
    out=str(tmp_path / 'judge'),
    num_steps=2,
  )
  with locks.locked(options.out, '--out'):
    with pytest.raises(locks.InUse, match='judge is in use by process'):
      judge_training.train(options)
