"""report.png, which shows the numbers of report.json in one picture."""

import math
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from devkit.figures import AFTER, BEFORE, GREY, SERIES, head, panels, save, styled

METRICS = (
    ("judge", "Is it the person?", "cosine to the photos, by the judge"),
    ("attributes", "Does it look like them?", "share of attributes that agree"),
    ("dynamic", "Does it still move?", "motion of the head, pixels a frame"),
    ("prompt", "Does it follow the prompt?", "image-text score"),
)
HEIGHT, AROUND = 300, 120  # pixels of a row of charts, and of what is above and below them all
BAR = 0.36  # the width of a bar, as a share of a person's room
WIDEST = 150  # letters in a line


@styled
def report_plot(report: dict, out: str | Path | None = None) -> Figure:
    """Draw bars for each person before and after training, and save the figure to ``out``.

    report["identities"] is a list of objects with `name`, `<metric>_before` and `<metric>_after` for each of METRICS,
    `drift_outside_head` and `train_seconds`. report["total_seconds"] is the time of everything, and
    report["judge_warning"], if it is there, says why the judge's figures are not to be trusted. Raises ValueError if there
    is no identity in the report.
    """
    identities = report["identities"]
    if not identities:
        raise ValueError("report has no identities: run the evaluation of at least one.")
    columns = 4 if len(identities) <= 4 else 2
    rows = math.ceil(len(METRICS) / columns)
    width = columns * max(370, 100 + 74 * len(identities))  # room for the numbers on the bars
    figure, axes = panels(width, AROUND + rows * HEIGHT, rows, columns)
    figure.suptitle("Before and after the identity adapter", x=0.01, ha="left", fontsize=18)
    for each, metric in zip(axes.flat, METRICS):
        _bars(each, identities, *metric)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=11)
    lines, warning = _summary(report), report.get("judge_warning")
    if warning:
        lines = "\n".join([lines, *wrap(warning, WIDEST)])
    figure.supxlabel(lines, x=0.01, ha="left", fontsize=10, color=SERIES[1] if warning else GREY)
    if out is not None:
        save(figure, out)
    return figure


def _bars(axes: Axes, identities: list[dict], metric: str, title: str, unit: str) -> None:
    head(axes, title, unit)
    for when, colour, side in (("before", BEFORE, -0.5), ("after", AFTER, 0.5)):
        places = [number + side * 1.05 * BAR for number in range(len(identities))]
        bars = axes.bar(places, [identity[f"{metric}_{when}"] for identity in identities], BAR, color=colour, label=when)
        axes.bar_label(bars, fmt="%.2f", fontsize=9, padding=1)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.spines.bottom.set_visible(False)
    axes.set_xticks(range(len(identities)), [identity["name"] for identity in identities], color="black")
    axes.margins(y=0.1)


def _summary(report: dict) -> str:
    identities = report["identities"]
    drift = [identity["drift_outside_head"] for identity in identities]
    seconds = sum(identity["train_seconds"] for identity in identities) / len(identities)
    return (
        f"Change outside the head: {sum(drift) / len(drift):.3f} on average, {max(drift):.3f} at most "
        f"(mean absolute RGB, 0..1).   Training: {seconds:.0f} s an identity, {report['total_seconds']:.0f} s in all."
    )
