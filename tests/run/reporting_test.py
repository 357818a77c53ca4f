"""Metrics, previews and what a resumed run does to them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from tensorboard.backend.event_processing import event_accumulator

from mmdist.config import schema
from mmdist.run import event_file
from mmdist.run import metrics_file
from mmdist.run import reporting
from tests.learner import tiny_field


def make_run(**results) -> schema.RunConfig:
  results = schema.ResultsConfig(**{'preview_every': 0} | results)
  return schema.RunConfig(num_steps=6, results=results)


def report_steps(workdir, steps, run=None) -> None:
  run = run or make_run()
  params = tiny_field.init(jax.random.key(0))
  field = tiny_field.tiny_field()
  with reporting.Reporter(workdir, run, field) as report:
    report.begin(steps[0])
    for step in steps:
      report.step(
        step, params, {'loss': float(step), 'cotangent_norm/generic': 0.5}
      )


def read_rows(workdir) -> list[dict]:
  lines = (workdir / metrics_file.NAME).read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_each_step_is_a_line_with_its_metrics(tmp_path):
  report_steps(tmp_path, range(3))
  rows = read_rows(tmp_path)
  assert [row['step'] for row in rows] == [0, 1, 2]
  assert rows[2]['loss'] == 2.0
  assert rows[2]['step_seconds'] >= 0


def test_steps_repeated_after_a_resume_appear_once(tmp_path):
  report_steps(tmp_path, range(5))
  report_steps(tmp_path, range(2, 6))
  assert [row['step'] for row in read_rows(tmp_path)] == list(range(6))


def test_a_torn_last_line_is_dropped(tmp_path):
  report_steps(tmp_path, range(2))
  with (tmp_path / metrics_file.NAME).open('a') as file:
    file.write('{"step": 2, "lo')
  report_steps(tmp_path, range(2, 3))
  assert [row['step'] for row in read_rows(tmp_path)] == [0, 1, 2]


def test_tensorboard_has_events(tmp_path):
  report_steps(tmp_path, range(2))
  events = list((tmp_path / 'tensorboard').iterdir())
  assert events and events[0].stat().st_size > 0


def tensorboard_of(workdir) -> dict[str, list[tuple[int, float]]]:
  """Returns what TensorBoard shows: name -> (step, number), in order."""
  board = event_accumulator.EventAccumulator(
    str(workdir / 'tensorboard'), {event_accumulator.SCALARS: 0}
  )
  board.Reload()
  found = {
    name: [(point.step, point.value) for point in board.Scalars(name)]
    for name in board.Tags()['scalars']
  }
  return {name: points for name, points in found.items() if points}


def lines_of(workdir) -> dict[str, list[tuple[int, float]]]:
  """As `tensorboard_of`, of the file of metrics."""
  found: dict[str, list[tuple[int, float]]] = {}
  for row in read_rows(workdir):
    for name, value in row.items():
      if name != 'step':
        found.setdefault(name, []).append((row['step'], value))
  return found


# Each tuple is a process, and the steps that it reports. Within one, a smaller
# step follows where a step was rejected.
@pytest.mark.parametrize(
  'processes',
  [
    [(0, 1, 2)],
    [(0, 1, 2, 3, 4), (0, 1, 2)],  # Killed before its first checkpoint.
    [(0, 1, 2, 3), (2, 3, 4, 5)],
    [(0, 1, 2, 0, 1)],  # Rejected, back to where the run began.
    [(0, 1, 2, 1, 2, 3), (2, 3, 4, 3), (4, 5)],
    [(0, 1), (0,), (0, 1, 2, 0)],
  ],
)
def test_tensorboard_has_the_numbers_of_the_file_of_metrics(
  tmp_path, processes
):
  params = tiny_field.init(jax.random.key(0))
  number = 0
  for steps in processes:
    with reporting.Reporter(
      tmp_path, make_run(), tiny_field.tiny_field()
    ) as report:
      report.begin(steps[0])
      for step in steps:
        number += 1
        metrics = {'loss': float(number), f'share/generic/{step}': 0.5}
        report.step(step, params, metrics)
  lines, board = lines_of(tmp_path), tensorboard_of(tmp_path)
  assert lines.keys() == board.keys()
  for name, points in lines.items():
    np.testing.assert_array_equal(np.float32(points), np.float32(board[name]))


def test_a_full_disk_ends_the_run_and_does_not_hang_it(tmp_path, monkeypatch):
  params = tiny_field.init(jax.random.key(0))
  monkeypatch.setattr(
    event_file, 'open_file', lambda _: open('/dev/full', 'wb')
  )
  with reporting.Reporter(
    tmp_path, make_run(), tiny_field.tiny_field()
  ) as report:
    report.begin(0)
    # The error comes with the write that finds the disk full, after some
    # steps, since a few kilobytes are buffered.
    with pytest.raises(OSError, match='No space left on device.*tensorboard'):
      for step in range(1000):
        report.step(step, params, {'loss': 1.0})


def test_the_preview_is_refreshed_every_so_often_and_at_the_end(
  tmp_path, monkeypatch
):
  shown = []
  monkeypatch.setattr(
    reporting, 'preview_picture', lambda *_: np.zeros((4, 6, 3), np.uint8)
  )
  monkeypatch.setattr(
    reporting, 'write_picture', lambda path, picture: shown.append(path)
  )
  report_steps(tmp_path, range(6), make_run(preview_every=4))
  assert shown == [tmp_path / 'preview.png'] * 2


def test_the_preview_shows_colour_above_normals():
  params = tiny_field.init(jax.random.key(0))
  params['nerf']['radius'] = jnp.float32(-9.0)  # No ball at all.
  picture = reporting.preview_picture(tiny_field.tiny_field(), params)
  size = reporting.PREVIEW_RESOLUTION
  assert picture.shape == (2 * size, 3 * size, 3)
  assert picture.dtype == np.uint8
  assert np.all(picture[:size] == round(0.85 * 255))
  assert np.all(picture[size:] == 128)  # The mid-grey of no normal.


def test_a_picture_is_written_whole(tmp_path):
  picture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
  reporting.write_picture(tmp_path / 'p.png', picture)
  np.testing.assert_array_equal(Image.open(tmp_path / 'p.png'), picture)
  assert [path.name for path in tmp_path.iterdir()] == ['p.png']


def test_the_summary_names_the_loss_and_each_whole_answer():
  metrics = {
    'cotangent_norm/normal': 0.1,
    'cotangent_norm/normal/0': 7,
    'loss': 0.25,
    'other': 1,
  }
  assert reporting.summary(metrics) == 'cotangent normal 0.1, loss 0.25'


def test_a_run_goes_on_in_a_file_with_the_old_names(tmp_path):
  path = tmp_path / metrics_file.NAME
  path.write_text('{"step": 0, "pull/generic": 0.5}\n')
  report_steps(tmp_path, range(1, 2))
  assert [row['step'] for row in read_rows(tmp_path)] == [0, 1]


def test_nothing_was_opened_nothing_is_closed(tmp_path):
  with reporting.Reporter(tmp_path, make_run(), tiny_field.tiny_field()):
    pass
  assert not list(tmp_path.iterdir())


def test_the_bar_starts_where_the_run_does(tmp_path, capsys):
  report_steps(tmp_path, range(4, 6))
  assert capsys.readouterr().err.startswith('step 6 of 6, ')


def test_a_log_does_not_get_a_line_per_step(tmp_path, capsys):
  report_steps(tmp_path, range(6))
  assert capsys.readouterr().err.count('\r') <= 3  # First, last, closing.
