"""ablations.png, with a row for every arm, a column for every figure, a dot for each person, and means with intervals."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.ablations.paired import arm_interval
from devkit.figures import AFTER, BEFORE, GREY, INK, head, panels, save, styled

ROW, AROUND, WIDTH = 34, 150, 1500  # pixels
OURS = "#9cc7e4"
"""The colour of the line at our mean, along which the eye compares."""


@dataclass(frozen=True)
class Column:
    """A figure and its axis from ``low`` to ``high``; values beyond it are drawn at its ends."""

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


@styled
def plot(rows: list[dict], arms: list, out: Path | None = None) -> Figure:
    """Draw ``arms`` (those of benchmarks/ablations/arms.py that have rows) from top to bottom, and save to ``out``."""
    figure, axes = panels(WIDTH, AROUND + ROW * len(arms), columns=len(COLUMNS), sharey=True)
    people = len({row["identity"] for row in rows})
    figure.suptitle("What each part of the method does", x=0.015, ha="left", fontsize=17)
    figure.supxlabel(f"Dots are people ({people} at most), bars 95 % confidence intervals of the mean.", color=GREY, fontsize=10)
    for each, column in zip(axes[0], COLUMNS):
        _panel(each, column, rows, [arm.name for arm in arms])
    axes[0, 0].set_ylim(len(arms) - 0.5, -0.5)
    axes[0, 0].set_yticks(range(len(arms)), [arm.title for arm in arms], fontsize=11)
    for label, arm in zip(axes[0, 0].get_yticklabels(), arms):
        label.set_color(_colour(arm.name))
    if out is not None:
        save(figure, out)
    return figure


def _panel(axes: Axes, column: Column, rows: list[dict], names: list[str]) -> None:
    head(axes, column.title, column.unit)
    axes.set_xlim(column.low, column.high)
    axes.set_xticks(column.ticks, [f"{tick:g}" for tick in column.ticks])
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines.bottom.set_visible(False)
    if "ours" in names:
        axes.axvline(arm_interval(rows, "ours", column.figure).mean, color=OURS, linewidth=1.5)
    for number, name in enumerate(names):
        _row(axes, number, name, column, rows)


def _row(axes: Axes, number: int, name: str, column: Column, rows: list[dict]) -> None:
    by_person = defaultdict(list)
    for row in rows:
        if row["arm"] == name:
            by_person[row["identity"]].append(row[column.figure])
    people = [min(column.high, max(column.low, sum(values) / len(values))) for values in by_person.values()]
    axes.plot(people, [number + 0.25] * len(people), "s", color=BEFORE, markersize=3, clip_on=False)
    mean, colour = arm_interval(rows, name, column.figure), _colour(name)
    axes.plot((mean.low, mean.high), (number, number), color=colour)
    axes.plot(mean.mean, number, "s", color=colour, markersize=6, clip_on=False)
    axes.annotate(
        f"{mean.mean:.2f}", (1, number), (8, 0), ("axes fraction", "data"), textcoords="offset points", color=colour, va="center"
    )


def _colour(name: str) -> str:
    return {"ours": AFTER, "base": GREY}.get(name, INK)
