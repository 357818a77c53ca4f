"""The pictures of a grid in the grid's own layout.

The first axis runs down, the second across. Each combination of the other axes
is a block of its own below. (MagicMirror, Fig. 7a, is such a sheet.)
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import os
import pathlib
from typing import Any

from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from mmdist.core import atomic
from mmdist.sweeps import cells as cells_lib

_MARGIN = 6
_FONT = 13
_LISTED_COLUMNS = 6  # Columns of cells that were listed, not a grid.
_MOST_LETTERS = 40


@dataclasses.dataclass(frozen=True)
class Block:
  """One table of the sheet.

  Attributes:
    title: what all of its cells have in common; may be empty.
    down: a label for each row.
    across: a label for each column; empty where cells have labels themselves.
    rows: the cells.
  """

  title: str
  down: Sequence[str]
  across: Sequence[str]
  rows: Sequence[Sequence[cells_lib.Cell]]


def layout(grid: cells_lib.Grid) -> list[Block]:
  """Returns the blocks of a grid, or one of cells that were listed."""
  if not grid.axes:
    num_columns = min(_LISTED_COLUMNS, len(grid.cells))
    rows = [
      list(grid.cells[i : i + num_columns])
      for i in range(0, len(grid.cells), num_columns)
    ]
    return [Block('', [''] * len(rows), [], rows)]
  down, across, *others = (*grid.axes, cells_lib.Axis('', ('',)))[:2] + (
    grid.axes[2:]
  )
  # The last axis of a grid varies fastest, so a place in the first two axes
  # holds `size` cells in a row, one for each block.
  size = math.prod(len(axis.values) for axis in others)
  num_columns = len(across.values)
  blocks = []
  for block, values in enumerate(
    itertools.product(*(axis.values for axis in others))
  ):
    rows = [
      [
        grid.cells[(row * num_columns + column) * size + block]
        for column in range(num_columns)
      ]
      for row in range(len(down.values))
    ]
    title = ', '.join(
      label(axis.field, value)
      for axis, value in zip(others, values, strict=True)
    )
    blocks.append(
      Block(
        title,
        [label(down.field, value) for value in down.values],
        [label(across.field, value) for value in across.values],
        rows,
      )
    )
  return blocks


def label(field: str, value: Any) -> str:
  """Returns e.g. 'happy 0.5'; '' for the axis that is none."""
  if not field:
    return ''
  shown = f'{value:g}' if isinstance(value, float) else str(value)
  text = f'{field.rpartition(".")[2]} {shown}'
  return text if len(text) <= _MOST_LETTERS else f'{text[:_MOST_LETTERS]}...'


def draw(
  grid: cells_lib.Grid,
  pictures: Mapping[str, pathlib.Path],
  size: int,
) -> Image.Image:
  """Draws the sheet.

  Args:
    grid: the cells and their layout.
    pictures: by cell; one without is an empty frame with its name.
    size: of each picture, in pixels.
  """
  blocks = layout(grid)
  font = ImageFont.load_default(_FONT)
  line = _FONT + 2 * _MARGIN
  left = max(
    [0]
    + [
      round(font.getlength(text)) + 2 * _MARGIN
      for block in blocks
      for text in block.down
      if text
    ]
  )
  num_columns = max(len(row) for block in blocks for row in block.rows)
  is_listed = not grid.axes
  row_height = size + line * is_listed
  heights = [
    line * (bool(block.title) + any(map(bool, block.across)))
    + row_height * len(block.rows)
    for block in blocks
  ]
  sheet = Image.new('RGB', (left + num_columns * size, sum(heights)), 'white')
  pen = ImageDraw.Draw(sheet)
  top = 0
  for block in blocks:
    if block.title:
      pen.text((_MARGIN, top + _MARGIN), block.title, fill='black', font=font)
      top += line
    if any(block.across):
      for column, text in enumerate(block.across):
        x = left + column * size + _MARGIN
        pen.text((x, top + _MARGIN), text, fill='black', font=font)
      top += line
    for text, row in zip(block.down, block.rows, strict=True):
      middle = top + (row_height - line) // 2
      pen.text((_MARGIN, middle), text, fill='black', font=font)
      for column, cell in enumerate(row):
        x = left + column * size
        if is_listed:
          pen.text((x + _MARGIN, top + _MARGIN), cell.name, 'black', font)
        y = top + line * is_listed
        if cell.name in pictures:
          with Image.open(pictures[cell.name]) as picture:
            sheet.paste(picture.resize((size, size)), (x, y))
        else:
          pen.rectangle((x, y, x + size - 2, y + size - 2), outline='#bbb')
          pen.text((x + _MARGIN, y + _MARGIN), 'not there', '#888', font)
      top += row_height
  return sheet


def write(
  path: str | os.PathLike,
  grid: cells_lib.Grid,
  pictures: Mapping[str, pathlib.Path],
  size: int,
) -> None:
  """Writes `draw` of the same arguments as a PNG."""
  with atomic.replacing(path) as temporary:
    draw(grid, pictures, size).save(temporary)
