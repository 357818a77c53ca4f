import json

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.evaluation import asked_scores
from mmdist.evaluation import evaluation_table
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import known_heads
from mmdist.evaluation import run_evaluation
from mmdist.evaluation import train_judge
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.learner import distill
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.run import checkpointing
from mmdist.run import opening
from mmdist.run import snapshots
from mmdist.run import workdir as workdir_lib
from tests.evaluation import tiny_clip
from tests.heads import fake_pictures
from tests.results import quick_nerf

PEOPLE = worlds.get('people')

NERF = schema.NerfConfig(code_size=4, nerf_depth=2, nerf_width=8)
PROMPT = 'a portrait of a happy man with green skin and a red hat'


@pytest.fixture(autouse=True, scope='module')
def _quick():
  with quick_nerf.quick():
    yield


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(run_evaluation, 'RESOLUTION', 16)
  monkeypatch.setattr(known_heads, 'NUM_TRUE_HEADS', 2)
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)


@pytest.fixture(scope='module')
def judge():
  questions = tuple(
    judge_lib.Question(**question) for question in PEOPLE.questions.questions()
  )
  judge = train_judge.init_judge(questions, 0)
  judge.world = PEOPLE
  return judge


def write_run(folder, name, seed, concepts=()):
  """Writes a run of one step, whose weights are of a seed."""
  run = schema.RunConfig(
    prompt=PROMPT,
    concepts=list(concepts),
    priors={'color': schema.PriorConfig(directory=str(folder / 'prior'))},
    num_steps=1,
    nerf=NERF,
    nerf_assets=str(folder / 'nerf'),
  )
  workdir_lib.claim(folder / name, run)
  params = field.conditional_nerf(NERF).init(jax.random.key(seed))
  state = distill.TrainState(jax.numpy.int32(1), params, {})
  with checkpointing.CheckpointStore(folder / name, run) as store:
    store.save(snapshots.Snapshot(state, {}))
  return folder / name


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run, beside the pretrained NeRF that it began from."""
  folder = tmp_path_factory.mktemp('runs')
  params = field.conditional_nerf(NERF).init(jax.random.key(0))
  codes = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  pretrained.save(folder / 'nerf', NERF, params, codes)
  (folder / 'prior').mkdir()
  (folder / 'prior' / 'mmdist.json').write_text('{"world": "people"}')
  return write_run(folder, 'run', 1)


def test_a_run_began_from_the_pretrained_weights_and_a_code(workdir):
  params = opening.start_params(opening.open_run(workdir))
  _, weights, codes = pretrained.load(workdir.parent / 'nerf')
  np.testing.assert_allclose(params.pop('code'), codes.mean(0), rtol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, params, weights)


def test_a_row_has_all_that_programs_ask_for(workdir, judge):
  row = run_evaluation.evaluate_run(str(workdir), judge)
  assert (row['run'], row['prompt'], row['step']) == (str(workdir), PROMPT, 1)
  assert set(row['per_attribute']) == {
    'kind',
    'expression',
    'skin',
    'hat',
    'hat_color',
  }
  for name in ('prompt_agreement', 'true_render_agreement', 'saturation'):
    assert 0 <= row[name] <= 1
  assert set(evaluation_table.COLUMNS) <= set(row)
  assert row['expression_accuracy'] == row['per_attribute']['expression']
  json.dumps(row)


def test_only_what_changes_the_shape_is_geometry():
  shares = {'skin': 1.0, 'hat': 0.5, 'hat_color': 0.0, 'horns': 1.0}
  assert run_evaluation.geometry_agreement(PEOPLE, shares) == 0.75
  assert run_evaluation.geometry_agreement(PEOPLE, {'skin': 1.0}) is None


def test_the_start_is_measured_instead_of_the_result(workdir, judge):
  shown = {}
  for start in (False, True):
    row = run_evaluation.evaluate_run(str(workdir), judge, start)
    shown[start] = row['saturation'], row['detail'], row['step']
  assert all(a != b for a, b in zip(shown[True], shown[False], strict=True))
  assert shown[True][-1] == 0


@pytest.fixture
def clips(tmp_path):
  """Two tiny models: one for CLIP's numbers, one for PickScore's."""
  folders = tmp_path / 'clip', tmp_path / 'pickscore'
  for seed, folder in enumerate(folders):
    tiny_clip.write_clip(folder, seed)
  return folders


def test_all_that_can_be_asked_of_two_runs_is_written(
  workdir, judge, clips, tmp_path
):
  other = write_run(workdir.parent, 'other', 2)
  judge_lib.save(judge, tmp_path / 'judge')
  (tmp_path / 'texts').write_text(f'a sad woman\n\n{PROMPT}\n')
  options = run_evaluation.Options(
    judge=str(tmp_path / 'judge'),
    clip=str(clips[0]),
    pickscore=str(clips[1]),
    prompts=str(tmp_path / 'texts'),
    truth='5:2',
    subject='5:2',
  )
  rows = run_evaluation.evaluate([str(workdir), str(other)], options)
  rows = json.loads(json.dumps(rows))
  assert [row['run'] for row in rows] == [str(workdir), str(other)]
  for row in rows:
    assert 0 <= row['clip_score'] <= 100 and 0 <= row['r_precision'] <= 1
    assert row['psnr'] > 0 and -1 <= row['ssim'] <= 1
    assert len(row['pickscore_per_view']) == 5
    assert 0 <= row['identity_agreement'] <= 1
  first, second = rows
  assert first['preferred_over'] is first['preference_rate'] is None
  assert second['preferred_over'] == str(workdir)
  a, b = (np.exp(row['pickscore_per_view']) for row in (first, second))
  assert second['preference_rate'] == pytest.approx(np.mean(b / (a + b)))
  assert second['preferred_share'] == pytest.approx(np.mean(b > a))
  lines = evaluation_table.format_table(rows).splitlines()
  assert lines[0].split()[1:] == [
    *evaluation_table.COLUMNS,
    *asked_scores.COLUMNS,
  ]
  assert [line.split()[0] for line in lines[1:]] == ['run', 'other', 'mean']


def test_equal_runs_have_equal_digests(workdir):
  twin = write_run(workdir.parent, 'twin', 1)
  other = write_run(workdir.parent, 'another', 3)
  digests = [opening.digest(run) for run in (workdir, twin, other)]
  assert [step for step, _ in digests] == [1, 1, 1]
  assert digests[0] == digests[1] != digests[2]


def test_the_judge_and_the_start_are_chosen(
  workdir, judge, tmp_path, monkeypatch
):
  judge_lib.save(judge, tmp_path)
  seen = []

  def evaluate_run(run, judge, start, asked):
    seen.append((run, len(judge.questions), start, asked.clip))
    return {'run': run}

  monkeypatch.setattr(run_evaluation, 'evaluate_run', evaluate_run)
  options = run_evaluation.Options(judge=str(tmp_path), start=True)
  rows = run_evaluation.evaluate([str(workdir)], options)
  assert rows == [{'run': str(workdir)}]
  assert seen == [(str(workdir), len(judge.questions), True, None)]


MIX = (
  ('a portrait of a happy man', 0.6),
  ('a portrait of a sad man with a hat', 0.4),
  ('green hair', -0.5),
)


def test_a_mix_is_judged_by_all_its_concepts(workdir, judge):
  concepts = [schema.ConceptConfig(*concept) for concept in MIX]
  mix = write_run(workdir.parent, 'mix', 1, concepts)
  row = run_evaluation.evaluate_run(mix, judge)
  assert row['prompt'] == (
    '0.6 a portrait of a happy man + 0.4 a portrait of a sad man with a hat '
    '- 0.5 green hair'
  )
  assert [c['text'] for c in row['concepts']] == [text for text, _ in MIX]
  agreements = [concept['agreement'] for concept in row['concepts']]
  expected = np.average(agreements, weights=[0.6, 0.4, 0.5])
  assert row['prompt_agreement'] == pytest.approx(expected)
  assert set(row['per_attribute']) == {'kind', 'expression', 'hat'}
  lines = evaluation_table.format_table([row]).splitlines()
  assert len(lines) == 2 + 3 and lines[-1].startswith('mix: ')
  assert lines[-1].endswith(' of -0.5 * green hair')
  json.dumps(row)


def test_a_run_of_one_prompt_has_no_lines_of_concepts(workdir, judge):
  row = run_evaluation.evaluate_run(workdir, judge)
  assert 'concepts' not in row
  assert len(evaluation_table.format_table([row]).splitlines()) == 2


def test_a_table_has_the_mean_of_many_runs():
  first = dict.fromkeys(evaluation_table.COLUMNS, 0.25) | {'run': 'runs/a'}
  second = dict.fromkeys(evaluation_table.COLUMNS, 0.75) | {'run': 'runs/b'}
  second['expression_accuracy'] = None
  first['detail'] = second['detail'] = None
  lines = evaluation_table.format_table([first, second]).splitlines()
  assert [line.split()[0] for line in lines] == ['run', 'a', 'b', 'mean']
  mean = dict(zip(evaluation_table.COLUMNS, lines[3].split()[1:]))
  assert mean['prompt_agreement'] == '0.500'
  assert mean['expression_accuracy'] == '0.250'
  assert mean['detail'] == '-'
  assert len({len(line.rstrip()) for line in lines[1:]}) == 1
