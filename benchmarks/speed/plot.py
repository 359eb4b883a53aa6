"""speed.png: what `speed.json` says, in four pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.evaluation.drawing import GREY, RULE, SERIES, Canvas, text_width

WIDTH, HEIGHT, MARGIN = 640, 300, 24
TITLE, LABEL = 18, 13


def speed_plot(found: dict, out: Path) -> None:
    """found: the subjects of speed.json; a picture is left out where its subject is missing."""
    subjects = [subject for subject in PANELS if found.get(subject)]
    canvas = Canvas(2 * WIDTH + 3 * MARGIN, math.ceil(len(subjects) / 2) * (HEIGHT + MARGIN) + MARGIN)
    for index, subject in enumerate(subjects):
        left = MARGIN + (index % 2) * (WIDTH + MARGIN)
        top = MARGIN + (index // 2) * (HEIGHT + MARGIN)
        PANELS[subject](canvas, left, top, found[subject])
    canvas.image().save(out, optimize=True)


def _steps(canvas: Canvas, left: float, top: float, rows: list[dict]) -> None:
    _head(canvas, left, top, "A training step at 50 sampling steps", "times ours, processor seconds")
    bars = []
    for row in rows:
        schedule = row["paper_schedule"]
        bars += [(f"{row['model']}: the paper's loop", schedule["naive_over_ours_step"], SERIES[1]),
                 ("... with our gradient depth", schedule["naive_same_depth_over_ours_step"], SERIES[4]),
                 ("ours", 1.0, SERIES[0])]  # fmt: skip
    pitch = (HEIGHT - 60) / len(bars)
    longest, start = max(value for _, value, _ in bars), left + 250
    for index, (label, value, colour) in enumerate(bars):
        y = top + 56 + index * pitch
        canvas.text(start - 8, y + pitch / 2, label, LABEL, anchor="rm")
        end = start + (WIDTH - 300) * value / longest
        canvas.box(start, y + 3, end, y + pitch - 3, colour)
        canvas.text(end + 6, y + pitch / 2, f"{value:.1f}", LABEL, anchor="lm")


def _decode(canvas: Canvas, left: float, top: float, rows: list[dict]) -> None:
    series = {row["vae"]: (row["frames"], row["one_frame_seconds"]) for row in rows}
    _curves(canvas, left, top, "One frame with gradient, the clip's last", "processor seconds", "frames of the clip", series)


def _growth(canvas: Canvas, left: float, top: float, found: dict) -> None:
    rows = found["frames"]
    frames = [row["frames"] for row in rows]
    exponents = found["exponents"]
    series = {
        f"seconds (exponent {exponents['seconds_with_frames']:.2f})": (frames, _relative(rows, "seconds")),
        f"memory (exponent {exponents['megabytes_with_frames']:.2f})": (frames, _relative(rows, "megabytes")),
    }
    _curves(canvas, left, top, "A training step at 64 x 64", f"times {frames[0]} frames", "frames", series)


def _depth(canvas: Canvas, left: float, top: float, rows: list[dict]) -> None:
    _head(
        canvas, left, top, f"Depth of the gradient, {rows[0]['steps']} steps on the demo", "judge's gain over processor seconds"
    )
    box = _Box(left, top, [row["seconds"] for row in rows], [row["judge_gain"] for row in rows], from_zero=True)
    box.axes(canvas, "processor seconds")
    for index, row in enumerate(rows):
        x, y = box.at(row["seconds"], row["judge_gain"])
        canvas.box(x - 5, y - 5, x + 5, y + 5, SERIES[index % len(SERIES)])
        canvas.text(x + 10, y, row["depth"], LABEL, anchor="lm")


PANELS = {"steps": _steps, "decode": _decode, "growth": _growth, "depth": _depth}


class _Box:
    """The plot area of a panel, with logarithmic axes or with axes from zero."""

    def __init__(self, left: float, top: float, xs: Sequence[float], ys: Sequence[float], from_zero: bool = False):
        self.left, self.right = left + 60, left + WIDTH - 20
        self.top, self.bottom = top + 64, top + HEIGHT - 40
        self.from_zero = from_zero
        self.scale = (lambda value: value) if from_zero else math.log
        self.xs, self.ys = ([*values, 0.0] if from_zero else values for values in (xs, ys))
        self.low = [self.scale(min(values)) for values in (self.xs, self.ys)]
        spans = [self.scale(max(values)) - low for values, low in zip((self.xs, self.ys), self.low)]
        self.span = [max(span * (1.15 if from_zero else 1.0), 0.5 if not from_zero else 1e-9) for span in spans]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (self.scale(x) - self.low[0]) / self.span[0]
        up = (self.scale(y) - self.low[1]) / self.span[1]
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def axes(self, canvas: Canvas, x_label: str) -> None:
        for y in _few(self.ys):
            height = self.at(self.xs[0], y)[1]
            canvas.line([(self.left, height), (self.right, height)], RULE)
            canvas.text(self.left - 8, height, f"{y:.2g}", LABEL, GREY, "rm")
        for x in _few(self.xs) if self.from_zero else sorted(set(self.xs)):
            canvas.text(self.at(x, self.ys[0])[0], self.bottom + 6, f"{x:.3g}", LABEL, GREY, "ma")
        canvas.text((self.left + self.right) / 2, self.bottom + 22, x_label, LABEL, GREY, "ma")


def _curves(canvas, left, top, title, unit, x_label, series: dict[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Lines on logarithmic axes."""
    _head(canvas, left, top, title, unit)
    box = _Box(left, top, *([value for points in series.values() for value in points[axis]] for axis in (0, 1)))
    box.axes(canvas, x_label)
    legend = box.right
    for (name, points), colour in reversed(list(zip(series.items(), SERIES))):
        path = [box.at(x, y) for x, y in zip(*points)]
        canvas.line(path, colour, 2.5)
        for x, y in path:
            canvas.box(x - 3, y - 3, x + 3, y + 3, colour)
        legend -= text_width(name, LABEL)
        canvas.text(legend, box.top - 22, name, LABEL, colour)
        legend -= 16


def _head(canvas: Canvas, left: float, top: float, title: str, unit: str) -> None:
    canvas.text(left, top, title, TITLE)
    canvas.text(left, top + 22, unit, LABEL, GREY)


def _few(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [low, (low + high) / 2, high] if low <= 0 else [low, math.sqrt(low * high), high]


def _relative(rows: list[dict], name: str) -> list[float]:
    return [row[name] / rows[0][name] for row in rows]
