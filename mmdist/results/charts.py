"""A chart as inline SVG: axes with round numbers, smoothed curves, a legend.

Each curve is drawn twice, faintly as it is, and smoothed above that. The mouse
over a curve shows its name. Every text is escaped.
"""

from collections.abc import Sequence
import dataclasses
import html
import math

from mmdist.results import curves

_WIDTH, _PLOT_HEIGHT = 440, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 30, 38
_FONT, _LETTER = 12, 6.4  # Pixels: of the font, and of a letter of it, about.
_LINE = 18  # Of the legend.
_SAMPLE = 22  # From the sample of a line in the legend to its name.
_MOST_LETTERS = 56  # Of a name in the legend: as many as a line has room for.
# More curves than these are drawn in grey and only counted in the legend.
_MAX_NAMED = 12
# Okabe and Ito 2008: told apart by colour-blind readers too.
_COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
_GREY = '#bbb'
# Curves that are called by a colour have it.
_NAMED_COLORS = {'red': '#c0392b', 'green': '#2e8b57', 'blue': '#2a5db0'}
# The share of the raw points, of the highest and of the lowest, that the axis
# may leave out.
_OUTLIERS = 0.02
# Rounding of float32 is no difference, and a tick has six digits to show one.
_RESOLUTION = 1e-4


@dataclasses.dataclass(frozen=True)
class _Axes:
  """Where numbers are on the paper.

  Attributes:
    x, y: the numbers at the ends of the axes.
    y_ticks, x_ticks: numbers that are written.
  """

  x: tuple[float, float]
  y: tuple[float, float]
  x_ticks: Sequence[float]
  y_ticks: Sequence[float]

  def place(self, x: float, y: float) -> tuple[float, float]:
    """Returns x and y in pixels; y beyond the axis is put at its end."""
    across = (x - self.x[0]) / (self.x[1] - self.x[0])
    up = min(max((y - self.y[0]) / (self.y[1] - self.y[0]), 0.0), 1.0)
    return (
      _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
      _PLOT_HEIGHT - _BOTTOM - up * (_PLOT_HEIGHT - _TOP - _BOTTOM),
    )


def draw_chart(title: str, series: curves.Series) -> str:
  """Returns one `<svg>` element.

  Args:
    title: stands above it.
    series: curve -> its points, in the order of the legend; at least one.
  """
  smoothed = {name: curves.smooth(points) for name, points in series.items()}
  axes = _axes(series, smoothed)
  parts = [_frame(title, axes)]
  names = list(series)
  # The first ones, with names, come last: they lie above the others.
  for index in reversed(range(len(names))):
    name = names[index]
    points, color = series[name], _color(index, name)
    lines = [_line(axes, curves.thin(smoothed[name]), color, 'smooth', index)]
    if len(points) >= 3:
      lines.insert(0, _line(axes, curves.thin(points), color, 'raw', index))
    shown = f'<title>{html.escape(name)}</title>' if name else ''
    parts.append(f'<g>{shown}{"".join(lines)}</g>')
  legend, height = _legend(names)
  size = _PLOT_HEIGHT + height
  return (
    f'<svg class="chart" viewBox="0 0 {_WIDTH} {size}" width="{_WIDTH}" '
    f'height="{size}" role="img" font-size="{_FONT}" '
    f'font-family="system-ui, sans-serif">{"".join(parts)}{legend}</svg>'
  )


def _color(index: int, name: str) -> str:
  if name in _NAMED_COLORS:
    return _NAMED_COLORS[name]
  return _COLORS[index % len(_COLORS)] if index < _MAX_NAMED else _GREY


def _dashes(index: int) -> str:
  """Returns an attribute: the second round of colours is dashed."""
  dashed = len(_COLORS) <= index < _MAX_NAMED
  return ' stroke-dasharray="5 3"' if dashed else ''


def _line(
  axes: _Axes,
  points: Sequence[curves.Point],
  color: str,
  kind: str,
  index: int,
) -> str:
  if len(points) == 1:
    x, y = axes.place(*points[0])
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>'
  path = ' '.join('{:.1f},{:.1f}'.format(*axes.place(*p)) for p in points)
  look = (
    'stroke-width="1" stroke-opacity="0.3"'
    if kind == 'raw'
    else f'stroke-width="2"{_dashes(index)}'
  )
  return (
    f'<polyline class="{kind}" points="{path}" fill="none" stroke="{color}" '
    f'stroke-linejoin="round" {look}/>'
  )


def _axes(series: curves.Series, smoothed: curves.Series) -> _Axes:
  """Ends the axes where the smoothed curves, and most raw points, are."""
  steps = [x for curve in series.values() for x, _ in curve]
  values = [y for curve in smoothed.values() for _, y in curve]
  raw = sorted(y for curve in series.values() for _, y in curve)
  cut = int(_OUTLIERS * len(raw))
  values += raw[cut : len(raw) - cut]
  y_ticks = ticks(*_range(values))
  return _Axes(
    x=(x := _range(steps, 0.0)),
    y=(y_ticks[0], y_ticks[-1]),
    x_ticks=[t for t in ticks(*x, whole=True) if x[0] <= t <= x[1]],
    y_ticks=y_ticks,
  )


def _range(
  values: Sequence[float], resolution: float = _RESOLUTION
) -> tuple[float, float]:
  """Returns the ends of an axis, never equal.

  Args:
    values: that are drawn along it.
    resolution: what differs by less, as a share of its size, is one number.
  """
  low, high = min(values), max(values)
  size = max(abs(low), abs(high))
  if high - low > resolution * size:
    return low, high
  margin = 0.5 * (size or 1.0)
  return low - margin, high + margin


def ticks(
  low: float, high: float, most: int = 6, whole: bool = False
) -> list[float]:
  """Returns round numbers, evenly spaced, that reach past both ends.

  Their distance is 1, 2 or 5 times a power of ten.

  Args:
    low: the lower end.
    high: the upper end, above the lower one.
    most: how many there may be.
    whole: only whole numbers, which steps are.
  """
  power = 10.0 ** math.floor(math.log10((high - low) / most))
  for factor in (1, 2, 5, 10, 20, 50, 100):
    space = factor * power
    first, last = math.floor(low / space), math.ceil(high / space)
    if last - first < most and (space >= 1 or not whole):
      break
  # Through the shortest decimal, so that 3 * 0.1 is 0.3.
  return [float(f'{count * space:.12g}') for count in range(first, last + 1)]


def _frame(title: str, axes: _Axes) -> str:
  """Draws the title, lines at the ticks, and their numbers."""
  bottom, right = _PLOT_HEIGHT - _BOTTOM, _WIDTH - _RIGHT
  parts = [
    _text(_LEFT, 16, title, 'currentColor', 'start', ' font-weight="600"')
  ]
  for tick in axes.y_ticks:
    _, y = axes.place(axes.x[0], tick)
    parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#e4e4e4"/>')
    parts.append(_text(_LEFT - 6, round(y + 4, 1), f'{tick:g}', '#555'))
  for tick in axes.x_ticks:
    x, _ = axes.place(tick, axes.y[0])
    parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#999"/>')
    parts.append(
      _text(round(x, 1), bottom + 17, f'{tick:.0f}', '#555', 'middle')
    )
  parts.append(f'<path d="M{_LEFT} {bottom}H{right}" stroke="#999"/>')
  parts.append(_text(right, bottom + 32, 'step', '#555'))
  return ''.join(parts)


def _legend(names: Sequence[str]) -> tuple[str, int]:
  """Returns the names beside samples of their lines, and their height."""
  named = [(i, name) for i, name in enumerate(names[:_MAX_NAMED]) if name]
  more = len(names) - _MAX_NAMED
  entries = [(_color(i, name), _dashes(i), name) for i, name in named]
  if more > 0:
    entries.append((_GREY, '', f'{more} more'))
  parts: list[str] = []
  x, row = float(_LEFT), 0
  for color, dashes, name in entries:
    shown = name
    if len(shown) > _MOST_LETTERS:
      shown = f'{shown[: _MOST_LETTERS - 3]}...'
    width = _SAMPLE + _LETTER * len(shown) + 20
    if x > _LEFT and x + width > _WIDTH:
      x, row = _LEFT, row + 1
    y = _PLOT_HEIGHT + _LINE * row + 10
    parts.append(
      f'<path d="M{x:.0f} {y}h16" stroke="{color}" stroke-width="2"{dashes}/>'
    )
    parts.append(
      _text(round(x + _SAMPLE), y + 4, shown, 'currentColor', 'start')
    )
    x += width
  return ''.join(parts), _LINE * (row + 1) + 4 if entries else 0


def _text(
  x: float,
  y: float,
  text: str,
  color: str,
  anchor: str = 'end',
  more: str = '',
) -> str:
  return (
    f'<text x="{x}" y="{y}" fill="{color}" text-anchor="{anchor}"{more}>'
    f'{html.escape(text)}</text>'
  )
