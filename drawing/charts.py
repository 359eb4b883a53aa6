"""Line and point charts as pictures, without a plotting library."""

import math
from collections.abc import Mapping, Sequence

from PIL import Image

from .canvas import GREY, RULE, SERIES, Canvas, text_width

TITLE, LABEL = 18, 14  # text sizes in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 72, 48  # margins around the plot area
_MARK = 3  # half the side of a point


def line_chart(title: str, unit: str, x_label: str, series: Mapping[str, Sequence[float]], size: tuple[int, int]) -> Image.Image:
    """Draw each series over its steps 1..n, faintly as it is and strongly as its moving average.

    The curves have gaps where values are not finite. size: (width, height) in pixels.
    """
    values = [value for points in series.values() for value in points if _known(value)]
    canvas, plot = _frame(title, unit, values or [0.0], size)
    steps = max([1, *map(len, series.values())])
    _label_steps(canvas, plot, x_label, steps)

    legend_x = plot.right
    for (name, points), colour in reversed(list(zip(series.items(), SERIES))):
        _curve(canvas, plot, points, steps, _faint(colour), 1)
        _curve(canvas, plot, _moving_average(points), steps, colour, 2.5)
        legend_x -= text_width(name, LABEL)
        canvas.text(legend_x, plot.top - 24, name, LABEL, colour)
        legend_x -= 16
    return canvas.image()


def point_chart(
    title: str,
    unit: str,
    x_label: str,
    points: Sequence[tuple[int, float | None]],
    last: int,
    include: Sequence[float],
    level: tuple[str, float] | None,
    size: tuple[int, int],
) -> Image.Image:
    """Draw ``points`` (place, value), with places in 1..last, joined by a line that has gaps where a value is None.

    include: values that the axis always covers. level: (name, value) of a rule across the chart. size: (width, height)
    in pixels.
    """
    values = [value for _, value in points if _known(value)]
    levels = [level[1]] if level else []
    canvas, plot = _frame(title, unit, [*values, *include, *levels], size)
    _label_steps(canvas, plot, x_label, last)
    if level:
        y = plot.y(level[1])
        canvas.line([(plot.left, y), (plot.right, y)], SERIES[1], 1.5)
        canvas.text(plot.right, plot.top - 24, level[0], LABEL, SERIES[1], "ra")
    run: list[tuple[float, float]] = []
    for step, value in [*points, (last, None)]:
        if _known(value):
            run.append((plot.x(step, last), plot.y(value)))
            continue
        canvas.line(run, SERIES[0], 2)
        for x, y in run:
            canvas.box(x - _MARK, y - _MARK, x + _MARK, y + _MARK, SERIES[0])
        run = []
    return canvas.image()


class _Plot:
    """The plot area in pixels, and the places of values and steps in it."""

    def __init__(self, size: tuple[int, int], low: float, high: float):
        self.left, self.right, self.top, self.bottom = _LEFT, size[0] - _RIGHT, _TOP, size[1] - _BOTTOM
        self._low, self._high = low, high

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self._low) / (self._high - self._low)

    def x(self, step: float, steps: int) -> float:
        return self.left + (self.right - self.left) * (step - 1) / max(1, steps - 1)


def _frame(title: str, unit: str, values: list[float], size: tuple[int, int]) -> tuple[Canvas, _Plot]:
    """Draw what all charts have: a title, a unit, and a value axis with its rules."""
    canvas, ticks = Canvas(*size), _ticks(min(values), max(values), 4)
    plot = _Plot(size, ticks[0], ticks[-1])
    canvas.text(8, 8, title, TITLE)
    canvas.text(8, 32, unit, LABEL, GREY)
    for tick in ticks:
        y = plot.y(tick)
        canvas.line([(plot.left, y), (plot.right, y)], GREY if tick == 0 else RULE)
        canvas.text(plot.left - 8, y, f"{tick:g}", LABEL, GREY, "rm")
    return canvas, plot


def _label_steps(canvas: Canvas, plot: _Plot, x_label: str, steps: int) -> None:
    for step in _ticks(1, steps, 5):
        if step == int(step) and 1 <= step <= steps:
            canvas.text(plot.x(step, steps), plot.bottom + 8, f"{step:g}", LABEL, GREY, "ma")
    canvas.text((plot.left + plot.right) / 2, plot.bottom + 28, x_label, LABEL, GREY, "ma")


def _curve(canvas: Canvas, plot: _Plot, points: Sequence[float | None], steps: int, colour: str, width: float) -> None:
    run: list[tuple[float, float]] = []
    for step, value in enumerate([*points, None], start=1):
        if _known(value):
            run.append((plot.x(step, steps), plot.y(value)))
        elif run:
            canvas.line(run, colour, width)
            run = []


def _moving_average(points: Sequence[float]) -> list[float | None]:
    """The mean over a centred window of a tenth of the curve, which is cut at the curve's ends; None in a gap."""
    reach = len(points) // 20
    means: list[float | None] = []
    for step, value in enumerate(points):
        near = [other for other in points[max(0, step - reach) : step + reach + 1] if _known(other)]
        means.append(sum(near) / len(near) if _known(value) else None)
    return means


def _ticks(low: float, high: float, about: int) -> list[float]:
    """About ``about`` equal steps between round numbers, from below ``low`` to above ``high``."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice * about >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _faint(colour: str) -> str:
    """``colour`` at a quarter of its strength on white."""
    red, green, blue = bytes.fromhex(colour[1:])
    return "#" + bytes(255 - (255 - part) // 4 for part in (red, green, blue)).hex()
