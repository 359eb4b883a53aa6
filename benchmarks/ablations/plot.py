"""ablations.png: every arm a row, every figure a column; a dot a person, mean and confidence interval on top."""

from collections import defaultdict
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from PIL import Image

from benchmarks.ablations.paired import arm_interval
from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.evaluation.drawing import AFTER, BEFORE, GREY, INK, RULE, Canvas

_LEFT, _TOP, _BOTTOM, _MARGIN = 272, 112, 44, 28  # pixels
_ROW, _PANEL, _GAP, _NUMBER = 34, 230, 26, 46


@dataclass(frozen=True)
class Column:
    """A figure with its axis from ``low`` to ``high``; values beyond are drawn at its end."""

    figure: str
    title: str
    unit: str
    low: float
    high: float
    ticks: tuple[float, ...]


COLUMNS = (
    Column("judge", "Is it the person?", "cosine to the photos, by the judge", -0.2, 1.0, (0, 0.5, 1)),
    Column("attributes", "Does it look like them?", "share of attributes", 0.0, 1.0, (0, 0.5, 1)),
    Column("dynamic", "Does it still move?", "head, pixels a frame", 0.0, 2.5, (0, 1, 2)),
    Column("prompt", "Does it follow the prompt?", "image-text score", 0.25, 1.0, (0.25, 0.5, 0.75, 1)),
)


def plot(rows: list[dict], arms: list, out: Path | None = None) -> Image.Image:
    """Draw ``arms`` (of ablation_arms, each with rows) from above to below, and save to ``out``."""
    width = _LEFT + len(COLUMNS) * (_PANEL + _NUMBER + _GAP) + _MARGIN
    canvas = Canvas(width, _TOP + _ROW * len(arms) + _BOTTOM)
    people = len({row["identity"] for row in rows})
    canvas.text(_MARGIN, 18, "What each part of the method does", 24)
    canvas.text(_MARGIN, 50, f"Dots are people ({people} at most), bars 95 % confidence intervals of the mean.", 14, GREY)
    for number, arm in enumerate(arms):
        colour = INK if arm.name != "ours" else AFTER
        canvas.text(_MARGIN, _middle(number), arm.title, 15, colour, "lm")
    for index, column in enumerate(COLUMNS):
        _panel(canvas, _LEFT + index * (_PANEL + _NUMBER + _GAP), column, rows, arms)
    picture = canvas.image()
    if out is not None:
        picture.save(out, optimize=True)
    return picture


def _middle(number: int) -> float:
    return _TOP + _ROW * (number + 0.5)


def _panel(canvas: Canvas, left: float, column: Column, rows: list[dict], arms: list) -> None:
    def x(value: float) -> float:
        share = (value - column.low) / (column.high - column.low)
        return left + _PANEL * min(1.0, max(0.0, share))

    bottom = _TOP + _ROW * len(arms)
    canvas.text(left, _TOP - 40, column.title, 15)
    canvas.text(left, _TOP - 20, column.unit, 12, GREY)
    for tick in column.ticks:
        canvas.line([(x(tick), _TOP + 4), (x(tick), bottom)], RULE)
        canvas.text(x(tick), bottom + 6, f"{tick:g}", 12, GREY, "ma")
    names = [arm.name for arm in arms]
    if "ours" in names:
        mean = x(arm_interval(rows, "ours", column.figure).mean)
        canvas.line([(mean, _TOP + 4), (mean, bottom)], "#9cc7e4", 1.5)
    for number, name in enumerate(names):
        _row(canvas, _middle(number), x, left, name, column, rows)


def _row(canvas: Canvas, y: float, x, left: float, name: str, column: Column, rows: list[dict]) -> None:
    colour = {"ours": AFTER, "base": GREY}.get(name, INK)
    by_person = defaultdict(list)
    for row in rows:
        if row["arm"] == name:
            by_person[row["identity"]].append(row[column.figure])
    for values in by_person.values():
        at = x(sum(values) / len(values))
        canvas.box(at - 2, y - 2 + 8, at + 2, y + 2 + 8, BEFORE)
    mean = arm_interval(rows, name, column.figure)
    if not isnan(mean.low):
        canvas.line([(x(mean.low), y), (x(mean.high), y)], colour, 2)
    canvas.box(x(mean.mean) - 4, y - 4, x(mean.mean) + 4, y + 4, colour)
    canvas.text(left + _PANEL + 8, y, f"{mean.mean:.2f}", 13, colour, "lm")
