"""speed.png, which shows `speed.json` in four pictures."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from devkit.figures import INK, SERIES, head, panels, save, styled

WIDTH, HEIGHT = 680, 340  # of one picture, in pixels
BAR = 0.28  # of the room that a model has


@styled
def speed_plot(found: dict, out: Path) -> Figure:
    """Draw the subjects of speed.json, ``found``; the picture of a subject that is missing is left out."""
    subjects = [subject for subject in PANELS if found.get(subject)]
    figure, axes = panels(2 * WIDTH, math.ceil(len(subjects) / 2) * HEIGHT, math.ceil(len(subjects) / 2), 2)
    for subject, each in zip(subjects, axes.flat):
        PANELS[subject](each, found[subject])
    for empty in axes.flat[len(subjects) :]:
        empty.set_visible(False)
    save(figure, out)
    return figure


def _steps(axes: Axes, rows: list[dict]) -> None:
    head(axes, "A training step at 50 sampling steps", "times ours, processor seconds")
    schedules = [row["paper_schedule"] for row in rows]
    bars = (
        ("the paper's loop", [schedule["naive_over_ours_step"] for schedule in schedules], SERIES[1]),
        ("the paper's loop with our gradient depth", [each["naive_same_depth_over_ours_step"] for each in schedules], SERIES[4]),
        ("ours", [1.0] * len(rows), SERIES[0]),
    )
    for number, (label, values, colour) in enumerate(bars):
        places = [index + (number - 1) * BAR for index in range(len(rows))]
        axes.bar_label(axes.barh(places, values, 0.9 * BAR, label=label, color=colour), fmt="%.1f", padding=4)
    axes.set_yticks(range(len(rows)), [row["model"].replace(" (", "\n(") for row in rows], color=INK)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.grid(visible=False)
    axes.xaxis.set_visible(False)
    axes.spines.bottom.set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, 0), ncols=3, columnspacing=1.2, handlelength=1.2)


def _decode(axes: Axes, rows: list[dict]) -> None:
    head(axes, "One frame with gradient, the clip's last", "processor seconds")
    for row in rows:
        axes.plot(row["frames"], row["one_frame_seconds"], "o-", label=row["vae"])
    _logarithmic(axes, rows[0]["frames"], "frames of the clip")


def _growth(axes: Axes, found: dict) -> None:
    rows, exponents = found["frames"], found["exponents"]
    frames = [row["frames"] for row in rows]
    head(axes, "A training step at 64 x 64", f"times {frames[0]} frames")
    for name, of, exponent in (("seconds", "seconds", "seconds_with_frames"), ("memory", "megabytes", "megabytes_with_frames")):
        values = [row[of] / rows[0][of] for row in rows]
        axes.plot(frames, values, "o-", label=f"{name} (exponent {exponents[exponent]:.2f})")
    _logarithmic(axes, frames, "frames")
    axes.set_yticks([1, 2, 3, 4], ["1", "2", "3", "4"])


def _depth(axes: Axes, rows: list[dict]) -> None:
    head(axes, f"Depth of the gradient, {rows[0]['steps']} steps on the demo", "judge's gain over processor seconds")
    for row in rows:
        axes.plot(row["seconds"], row["judge_gain"], "s", markersize=8, label=row["depth"])
    axes.set_xlim(0, 1.15 * max(row["seconds"] for row in rows))
    axes.set_ylim(0, 1.15 * max(row["judge_gain"] for row in rows))
    axes.set_xlabel("processor seconds")
    axes.legend(loc="lower right", title="steps with gradient")


def _logarithmic(axes: Axes, ticks: list[int], label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, map(str, ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.legend(loc="upper left", fontsize=9)


PANELS = {"steps": _steps, "decode": _decode, "growth": _growth, "depth": _depth}
