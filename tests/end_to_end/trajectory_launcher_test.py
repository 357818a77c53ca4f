"""The command of `experiments/trajectory.py`, with the smallest NeRF."""

import json

import jax
import numpy as np
import pytest

from launchers import trajectory
import mmdist
from mmdist.nerf import pretrained
from tests.end_to_end import front_door_test
from tests.end_to_end import launching

EXPERIMENT = """
from experiments import trajectory
from mmdist.config import serialization

def get_config(preset='expressions'):
  config = trajectory.get_config(preset)
  config.base = serialization.from_json({base!r})
  return config
"""


@pytest.fixture(name='experiment')
def fixture_experiment(trained, tmp_path):
  """An experiment file with tiny assets; small in every way."""
  from mmdist.config import serialization

  base = front_door_test.small_config(trained)
  base.prompt = mmdist.RunConfig().prompt
  path = tmp_path / 'tiny.py'
  path.write_text(EXPERIMENT.format(base=serialization.to_json(base)))
  return path


def run(capfd, monkeypatch, *words) -> launching.Done:
  monkeypatch.chdir(launching.ROOT)
  capfd.readouterr()
  with pytest.raises(SystemExit) as exit_:
    trajectory.COMMAND.run(['trajectory', '--executor=inline', *words])
  said = capfd.readouterr()
  return launching.Done(exit_.value.code or 0, said.out, said.err)


@pytest.mark.long
def test_a_way_through_three_heads(experiment, tmp_path, capfd, monkeypatch):
  workdir = tmp_path / 'way'
  words = (
    f'--config={experiment}',
    f'--workdir={workdir}',
    '--config.legs[2].num_steps=1',
    '--config.film.points_per_leg=1',
    '--config.film.hold_s=0.1',
  )
  done = run(capfd, monkeypatch, *words)
  assert done.returncode == 0, done.stderr
  for name in ('trajectory.mp4', 'trajectory.webp', 'sheet.png'):
    assert (workdir / name).stat().st_size > 0
    assert str(workdir / name) in done.stdout
  names = ('0-neutral', '1-happy', '2-sad')
  runs = [mmdist.open_run(workdir / 'legs' / name) for name in names]
  assert [one.step for one in runs] == [2, 2, 1]
  assert [one.config.prompt for one in runs[1:]] == [
    'a portrait of a happy man',
    'a portrait of a sad man',
  ]

  # A leg starts from the last one's result, to the last bit, and its own
  # configuration says so: without the trajectory it is the same run.
  start = workdir / 'starts' / '1-happy'
  assert runs[1].config.nerf_assets == str(start)
  _, weights, codes = pretrained.load(start)
  jax.tree.map(
    np.testing.assert_array_equal,
    {**weights, 'code': codes.mean(0)},
    jax.device_get(runs[0].params),
  )
  alone = mmdist.optimize(
    None, tmp_path / 'alone', config=runs[1].config, executor='inline'
  )
  assert alone.digest() == runs[1].digest()

  # In another place, it is the same trajectory and does nothing.
  moved = workdir.rename(tmp_path / 'moved')
  again = run(capfd, monkeypatch, words[0], f'--workdir={moved}', *words[2:])
  assert again.returncode == 0, again.stderr
  assert 'leg 2-sad: finished' in again.stdout
  assert 'making the film' not in again.stdout
  results = json.loads((moved / 'trajectory.json').read_text())['results']
  assert list(results) == list(names)

  refused = run(
    capfd,
    monkeypatch,
    words[0],
    f'--workdir={moved}',
    '--config.legs[1].prompt=a portrait of a sad man',
  )
  assert refused.returncode == 1
  assert "another trajectory: in its leg '1-happy' prompt: " in refused.stderr
  assert 'Traceback' not in refused.stderr


@pytest.mark.parametrize(
  'word, line',
  [
    ('--config.base.prompt=a man', 'base.prompt and base.concepts are not ask'),
    ('--config.legs[0].prompt=', r'legs[0] asks nothing'),
    ('--config.legs[7].prompt=a man', "no field 'legs.7'"),
    ('--config.film.swing_s=0', 'film.swing_s is 0'),
    ('--config=generate', 'expected TrajectoryConfig'),
    ('--config=trajectory:expresions', "did you mean 'expressions'"),
    ('--config.legs[1].prompt=a happyy man', 'leg 1: '),
    ('--workdir=gs://b/x', "workdir 'gs://b/x' is in remote storage"),
  ],
)
def test_a_mistake_is_one_line(tmp_path, capfd, monkeypatch, word, line):
  words = [f'--workdir={tmp_path / "way"}', word]
  # Given twice, it would be warned of, too.
  words = words[word.startswith('--workdir') :]
  done = run(capfd, monkeypatch, *words)
  assert done.returncode == 1
  (said,) = done.stderr.splitlines()
  assert line in said
  assert not list(tmp_path.iterdir())
