import json

import pytest

from mmdist.config import schema
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import judged_world
from mmdist.heads import worlds

PEOPLE = worlds.get('people')
QUESTIONS = (judge_lib.Question('skin', ('green', 'red'), ('front',)),)


def run_of(**directories):
  return schema.RunConfig(
    prompt='a man',
    priors={
      name: schema.PriorConfig(directory=str(directory))
      for name, directory in directories.items()
    },
  )


def prior_of(world, tmp_path):
  """Returns a folder that says of which world its prior is."""
  folder = tmp_path / world.name
  folder.mkdir()
  (folder / 'mmdist.json').write_text(json.dumps({'world': world.name}))
  return folder


@pytest.fixture
def people_prior(tmp_path):
  return prior_of(PEOPLE, tmp_path)


@pytest.fixture
def mars_prior(mars, tmp_path):
  return prior_of(mars, tmp_path)


def judge_of(world):
  net = judge_lib.JudgeNet((2,), width=8)
  return judge_lib.Judge(QUESTIONS, net, world=world)


def test_priors_tell_of_which_world_a_run_is(mars, mars_prior, people_prior):
  run = run_of(one=mars_prior, other=people_prior, nowhere='not/there')
  assert judged_world.worlds_of(run) == {'one': mars, 'other': PEOPLE}
  run.priors['one'].enabled = False
  assert judged_world.worlds_of(run) == {'other': PEOPLE}
  shipped = worlds.get(worlds.DEFAULT)
  assert judged_world.worlds_of(run_of(one='color')) == {'one': shipped}


def test_a_judge_of_another_world_is_refused_in_a_line(
  mars, mars_prior, people_prior
):
  judged_world.check(run_of(one=mars_prior), judge_of(mars))
  judged_world.check(run_of(one=people_prior), judge_of(PEOPLE))
  words = "prior 'one' is of the world 'people', and the judge of 'mars'; give"
  with pytest.raises(ValueError, match=words) as error:
    judged_world.check(run_of(one=people_prior), judge_of(mars))
  assert '\n' not in str(error.value)


def test_any_judge_looks_at_priors_of_no_world(mars, tmp_path):
  for world in (mars, PEOPLE):
    judged_world.check(run_of(one=tmp_path), judge_of(world))
