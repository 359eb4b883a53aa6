"""The look that all plots of benchmarks and tools share; matplotlib draws them."""

from pathlib import Path

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.drawing.canvas import GREY, INK, RULE, SERIES

BEFORE, AFTER = "#a9b0b8", SERIES[0]
DOTS = 100  # pixels an inch

styled = rc_context({
    "axes.axisbelow": True, "axes.edgecolor": GREY, "axes.grid": True, "axes.grid.axis": "y", "axes.labelcolor": GREY,
    "axes.prop_cycle": cycler(color=SERIES), "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.1, "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.15,
    "figure.dpi": DOTS, "font.size": 10, "grid.color": RULE, "legend.frameon": False, "lines.linewidth": 2, "savefig.dpi": DOTS,
    "text.color": INK, "xtick.color": GREY, "xtick.major.size": 0, "xtick.minor.size": 0, "ytick.color": GREY,
    "ytick.major.size": 0, "ytick.minor.size": 0,
})  # fmt: skip
"""A decorator for every function that makes a figure or writes into it."""


def panels(width: int, height: int, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of ``width`` x ``height`` pixels and its axes [rows, columns]; options are those of ``subplots``."""
    figure = Figure(figsize=(width / DOTS, height / DOTS))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def head(axes: Axes, title: str, unit: str) -> None:
    """Write a title above the axes, and below it, in grey, the unit."""
    axes.set_title(f"{title}\n", loc="left", fontsize=12)
    axes.annotate(unit, (0, 1), (0, 6), "axes fraction", textcoords="offset points", color=GREY, fontsize=9, va="bottom")


def save(figure: Figure, path: Path) -> None:
    """Save the figure as a PNG, which has the same bytes for the same data."""
    figure.savefig(path, metadata={"Software": None})
