from mmdist.config import schema
from mmdist.objectives import concept as concept_lib
from mmdist.results import summary

SESSION = {
  'began': '2026-11-26T10:00:00+00:00',
  'command': 'mmdist optimize --config=generate',
  'processor': 'Example CPU',
  'fingerprint': {
    'mmdist': '0.2.0',
    'python': '3.11.7',
    'cores': '2',
    'devices': '1 x cpu',
    'threads': '2',
  },
}
HAPPY = schema.ConceptConfig('a happy man', 0.5, (), 'happy', 'linear(1, 0.5)')
SAD = schema.ConceptConfig('a sad man', -1.0, ('generic',))


def rows(num_steps):
  return [
    {'step': s, 'step_seconds': 2.0 + 98.0 * (s == 0)} for s in range(num_steps)
  ]


def test_the_facts_say_how_a_run_went():
  judgement = summary.Judgement(0.75, 0.4, {})
  run = schema.RunConfig(num_steps=11, seed=3)
  facts = summary.facts(run, rows(11), [SESSION], judgement)
  assert facts == {
    'judge': 'agrees to 75% (guessing: 40%)',
    'steps': '11',
    'duration': '2 min 00 s, half of the steps within 2 s',
    'seed': '3',
    'began': '2026-11-26 10:00:00 UTC',
    'machine': 'Example CPU, 2 cores, 1 x cpu',
    'versions': 'mmdist 0.2.0, python 3.11.7',
    'command': 'mmdist optimize --config=generate',
  }


def test_what_is_not_known_is_left_out():
  run = schema.RunConfig(num_steps=7)
  assert summary.facts(run, [], []) == {'steps': '7', 'seed': '0'}
  assert summary.facts(run, [], [{}]) == {'steps': '7', 'seed': '0'}


def test_a_run_that_was_stopped_and_went_on_says_so():
  facts = summary.facts(schema.RunConfig(), rows(120), [SESSION, SESSION])
  assert facts['steps'] == '120 of 300'
  assert facts['began'].endswith('UTC, and went on once')
  facts = summary.facts(schema.RunConfig(), rows(120), [SESSION] * 3)
  assert facts['began'].endswith('UTC, and went on 2 times')


def test_steps_of_minutes_are_told_in_minutes():
  slow = [{'step': s, 'step_seconds': 123.0} for s in range(3)]
  facts = summary.facts(schema.RunConfig(num_steps=3), slow, [])
  assert facts['duration'] == '6 min 09 s, half of the steps within 2 min 03 s'


def test_what_was_warned_of_is_in_the_report():
  metrics = [row | {'saturation': 0.95, 'color/red': 0.9} for row in rows(100)]
  facts = summary.facts(schema.RunConfig(), metrics, [])
  assert 'over-saturated' in facts['warning 1']


def test_concepts_have_the_weights_of_the_last_step():
  judgement = summary.Judgement(
    0.8,
    0.4,
    {
      concept_lib.Concept('a happy man', schedule='linear(1, 0.5)').key: 0.9,
      concept_lib.Concept('a sad man', priors=('generic',)).key: None,
    },
  )
  table = summary.concepts(schema.RunConfig(concepts=[SAD, HAPPY]), judgement)
  assert table.columns == (
    'concept',
    'name',
    'weight',
    'schedule',
    'priors',
    'judge',
  )
  assert [tuple(row.values()) for row in table] == [
    ('a happy man', 'happy', 0.25, 'linear(1, 0.5)', None, '90%'),
    ('a sad man', None, -1.0, None, 'generic', None),
  ]


def test_concepts_of_one_text_and_those_that_fade_all_have_a_row():
  run = schema.RunConfig(
    concepts=[
      schema.ConceptConfig('a man', 2.0, (), 'early', 'linear( 1,0 )'),
      schema.ConceptConfig('a  man', 1.0, (), 'late', 'linear(0, 1)'),
      schema.ConceptConfig('a man', -0.5, ('generic',), 'other'),
      schema.ConceptConfig('green', -0.5, (), '', 'linear(1, 0)'),
    ]
  )
  judgement = summary.Judgement(
    0.8,
    0.4,
    {
      concept_lib.Concept('a man', schedule='linear(0, 1)').key: 0.9,
      concept_lib.Concept('a man', priors=('generic',)).key: 0.1,
    },
  )
  table = summary.concepts(run, judgement)
  assert [tuple(row.values()) for row in table] == [
    ('a man', 'late', 1.0, 'linear(0, 1)', None, '90%'),
    ('a man', 'early', 0.0, 'linear(1, 0)', None, None),
    ('green', None, 0.0, 'linear(1, 0)', None, None),
    ('a man', 'other', -0.5, None, 'generic', '10%'),
  ]
  assert '-0' not in str(table['weight'][:3])


def test_a_run_of_one_prompt_has_no_table():
  assert summary.concepts(schema.RunConfig()) is None
