"""Which picture is where on a contact sheet, read back from its pixels."""

import itertools

import numpy as np
from PIL import Image
import pytest

from experiments import mix
from mmdist.sweeps import cells
from mmdist.sweeps import contact_sheet

SIZE = 20


@pytest.fixture
def config():
  return mix.get_config('happy_sad')


def paint(folder, made):
  """Returns a picture for each cell, each in a colour of its own."""
  pictures, colors = {}, {}
  for number, cell in enumerate(made):
    color = (40 + number, 200 - number, 90)
    path = folder / f'{number}.png'
    Image.new('RGB', (SIZE, SIZE), color).save(path)
    pictures[cell.name], colors[cell.name] = path, color
  return pictures, colors


def places(sheet, colors):
  """Returns cell -> left, top, width and height of its colour."""
  pixels = np.asarray(sheet)
  found = {}
  for name, color in colors.items():
    rows, columns = np.nonzero((pixels == color).all(-1))
    if len(rows):
      width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
      assert len(rows) == width * height  # Nothing lies above it.
      found[name] = columns.min(), rows.min(), width, height
  return found


def draw(folder, grid, size=SIZE):
  pictures, colors = paint(folder, grid.cells)
  return places(contact_sheet.draw(grid, pictures, size), colors)


def has_ink(sheet, left, top, right, bottom):
  """Returns whether something is written in a part of the sheet."""
  part = np.asarray(sheet)[top:bottom, left:right].astype(int)
  return bool((part.sum(-1) < 300).any())


def test_the_first_axis_runs_down_and_the_second_across(config, tmp_path):
  happy, sad = [0, 0.5, 1], [0.1, 0.2]
  grid = cells.grid(config, {'happy': happy, 'sad': sad})
  found = draw(tmp_path, grid)
  left, top, _, _ = found['happy_0-sad_0.1']
  for row, column in itertools.product(range(3), range(2)):
    name = f'happy_{happy[row]:g}-sad_{sad[column]:g}'
    place = (left + column * SIZE, top + row * SIZE, SIZE, SIZE)
    assert found[name] == place


def test_one_axis_is_a_column(config, tmp_path):
  found = draw(tmp_path, cells.grid(config, {'seed': [3, 1, 2]}))
  left, top, _, _ = found['seed_3']
  # In the order of the axis, not of the numbers.
  assert found['seed_1'] == (left, top + SIZE, SIZE, SIZE)
  assert found['seed_2'] == (left, top + 2 * SIZE, SIZE, SIZE)


def test_further_axes_are_blocks_below_each_other(config, tmp_path):
  axes = {
    'happy': [0, 1],
    'sad': [0.1, 0.2, 0.3],
    'seed': [0, 1],
    'mode': ['sum', 'perp'],
  }
  found = draw(tmp_path, cells.grid(config, axes))
  assert len(found) == 24

  def place(happy, sad, seed, mode):
    return found[f'happy_{happy}-sad_{sad}-seed_{seed}-mode_{mode}']

  blocks = list(itertools.product(axes['seed'], axes['mode']))
  lowest = 0
  for block in blocks:
    left, top, _, _ = place(0, 0.1, *block)
    assert top > lowest  # With room for its title.
    for (row, happy), (column, sad) in itertools.product(
      enumerate(axes['happy']), enumerate(axes['sad'])
    ):
      assert place(happy, sad, *block) == (
        left + column * SIZE,
        top + row * SIZE,
        SIZE,
        SIZE,
      )
    lowest = top + 2 * SIZE
  assert len({place(0, 0.1, *block)[0] for block in blocks}) == 1


def test_every_cell_is_once_in_the_layout_under_its_own_labels(config):
  axes = {'happy': [0, 1], 'sad': [0, 0.5], 'seed': [7, 8]}
  grid = cells.grid(config, axes)
  seen = []
  for block in contact_sheet.layout(grid):
    for down, row in zip(block.down, block.rows, strict=True):
      for across, cell in zip(block.across, row, strict=True):
        labels = [
          contact_sheet.label(field, value)
          for field, value in cell.values.items()
        ]
        assert labels == [down, across, block.title]
        seen.append(cell.name)
  assert sorted(seen) == sorted(cell.name for cell in grid.cells)


def test_listed_cells_fill_rows_of_six_in_their_order(config, tmp_path):
  made = cells.listed(config, [{'seed': seed} for seed in range(8)])
  found = draw(tmp_path, cells.Grid((), made))
  left, top, _, _ = found['seed_0']
  below = found['seed_6'][1] - top
  assert below > SIZE  # The names stand between the rows.
  for number, cell in enumerate(made):
    row, column = divmod(number, 6)
    assert found[cell.name] == (
      left + column * SIZE,
      top + row * below,
      SIZE,
      SIZE,
    )


def test_a_cell_without_a_picture_is_a_frame_in_its_place(config, tmp_path):
  grid = cells.grid(config, {'happy': [0, 1], 'sad': [0, 1]})
  size = 80
  pictures, colors = paint(tmp_path, grid.cells)
  whole = places(contact_sheet.draw(grid, pictures, size), colors)
  del pictures['happy_1-sad_0']
  sheet = contact_sheet.draw(grid, pictures, size)
  found = places(sheet, colors)
  left, top, _, _ = whole.pop('happy_1-sad_0')
  assert found == whole
  # The outline and the words 'not there' are grey.
  part = np.asarray(sheet)[top : top + size, left : left + size]
  assert (part[0, : size - 1] == 0xBB).all() and (part[:, 0] == 0xBB)[:-1].all()
  assert (part[2:30, 2:-2] < 0xBB).any()


def test_labels_stand_beside_rows_and_above_columns(config, tmp_path):
  grid = cells.grid(config, {'happy': [0, 1], 'sad': [0, 1]})
  pictures, colors = paint(tmp_path, grid.cells)
  size = 60
  sheet = contact_sheet.draw(grid, pictures, size)
  found = places(sheet, colors)
  for row in range(2):
    left, top, _, _ = found[f'happy_{row}-sad_0']
    assert has_ink(sheet, 0, top, left, top + size)
  for column in range(2):
    left, top, _, _ = found[f'happy_0-sad_{column}']
    assert has_ink(sheet, left, 0, left + size, top)
  assert not has_ink(sheet, 0, 0, found['happy_0-sad_0'][0], 20)


def test_pictures_of_another_size_are_fitted_to_their_place(config, tmp_path):
  grid = cells.grid(config, {'happy': [0, 1]})
  found = draw(tmp_path, grid, size=2 * SIZE)
  assert all(place[2:] == (2 * SIZE, 2 * SIZE) for place in found.values())


@pytest.mark.parametrize(
  'field, value, text',
  [
    ('happy', 0.5, 'happy 0.5'),
    ('learner.learning_rate', 1e-3, 'learning_rate 0.001'),
    ('prompt', 'x' * 99, 'prompt ' + 'x' * 33 + '...'),
    ('', '', ''),
  ],
)
def test_a_label_is_the_fields_last_part_and_its_value(field, value, text):
  assert contact_sheet.label(field, value) == text
