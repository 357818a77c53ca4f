import pytest

from mmdist.config import schema
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import judged_world
from mmdist.heads import worlds

CLAY, PEOPLE = worlds.get('clay'), worlds.get('people')
QUESTIONS = (judge_lib.Question('skin', ('green', 'red'), ('front',)),)


def run_of(**directories):
  return schema.RunConfig(
    prompt='a man',
    priors={
      name: schema.PriorConfig(directory=str(directory))
      for name, directory in directories.items()
    },
  )


@pytest.fixture
def people_prior(tmp_path):
  (tmp_path / 'mmdist.json').write_text('{"world": "people"}')
  return tmp_path


def judge_of(world):
  net = judge_lib.JudgeNet((2,), width=8)
  return judge_lib.Judge(QUESTIONS, net, world=world)


def test_priors_tell_of_which_world_a_run_is(people_prior):
  run = run_of(one='color', other=people_prior, nowhere='not/there')
  assert judged_world.worlds_of(run) == {'one': CLAY, 'other': PEOPLE}
  run.priors['one'].enabled = False
  assert judged_world.worlds_of(run) == {'other': PEOPLE}


def test_a_judge_of_another_world_is_refused_in_a_line(people_prior):
  judged_world.check(run_of(one='color'), judge_of(CLAY))
  judged_world.check(run_of(one=people_prior), judge_of(PEOPLE))
  words = "prior 'one' is of the world 'people', and the judge of 'clay'; give"
  with pytest.raises(ValueError, match=words) as error:
    judged_world.check(run_of(one=people_prior), judge_of(CLAY))
  assert '\n' not in str(error.value)


def test_any_judge_looks_at_priors_of_no_world(tmp_path):
  for world in (CLAY, PEOPLE):
    judged_world.check(run_of(one=tmp_path), judge_of(world))
