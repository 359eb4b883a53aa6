"""The rows of ``cost.json`` as a plot and as the tables of README.md and docs/models.md."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from devkit.comfy_host import ROOT

PLOTS = (ROOT / "benchmarks" / "results" / "cost.png", ROOT / "web" / "docs" / "PersonalVideoEstimateTraining" / "cost.png")
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "models.md")
BEGIN, END = "<!-- cost: written by make cost -->\n", "<!-- cost: end -->\n"
TITLES = {
    "sd15": "AnimateDiff (SD 1.5)",
    "hunyuan_video": "HunyuanVideo",
    "hunyuan_video_15": "HunyuanVideo 1.5",
    "wan": "Wan 2.1 1.3B",
    "wan22_14b": "Wan 2.1 / 2.2 14B",
    "wan22_5b": "Wan 2.2 5B",
    "ltxv": "LTX-Video 2B",
    "cogvideox": "CogVideoX 5B",
}
COLOURS = {"quick": "#9ecae1", "standard": "#3182bd", "paper": "#bdbdbd"}
DAY = 24


def write_plot(rows: list[dict]) -> None:
    """Hours on a 24 GB card, a group of three bars a family; hatched where the run does not fit into it."""
    figure, axes = plt.subplots(figsize=(8, 5))
    for place, family in enumerate(TITLES):
        for shift, (kind, colour) in zip((-0.27, 0.0, 0.27), COLOURS.items()):
            row = next(row for row in rows if row["family"] == family and row["preset"].startswith(kind))
            hours = row["hours_24gb"] or row["hours_h100"]
            hatch = None if row["hours_24gb"] else "////"
            axes.barh(place + shift, hours, 0.25, color=colour, hatch=hatch, edgecolor="white", label=kind if not place else None)
            axes.text(hours * 1.08, place + shift, in_hours(hours), va="center", fontsize=7)
    axes.axvline(1.0, color="#444", linewidth=0.8)
    axes.set_yticks(range(len(TITLES)), TITLES.values())
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(0.02, 2000)
    axes.set_xlabel("hours on a 24 GB card (hatched: does not fit into it; hours on an H100)")
    axes.legend(title="preset", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    for path in PLOTS:
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110)


def write_documents(rows: list[dict]) -> None:
    """Put the table between the marks of every document."""
    for path in DOCUMENTS:
        path.write_text(with_table(path, rows))


def with_table(path: Path, rows: list[dict]) -> str:
    """The document at ``path`` with the table of ``rows``."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{path.name}: the marks of the table are missing")
    return before + BEGIN + table(rows) + end + after


def table(rows: list[dict]) -> str:
    """One line a family: its standard run, and what quick and the paper's preset take."""
    lines = [
        "| family | standard run | operations | 24 GB card | H100 | memory | disk | quick, 24 GB | paper's values, H100 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for family, title in TITLES.items():
        standard, quick, paper = (
            next(row for row in rows if row["family"] == family and row["preset"].startswith(kind))
            for kind in ("standard", "quick", "paper")
        )
        sampling = f"{standard['steps']} steps, {standard['train_size']}, {standard['sampling_steps']} sampling steps"
        cells = [
            title, f"{sampling}, cfg {standard['cfg']:g}, {standard['weights']}", f"{standard['peta_operations']:.0f} P",
            in_hours(standard["hours_24gb"]), in_hours(standard["hours_h100"]), f"{standard['vram_gb']:.1f} GB",
            f"{standard['disk_gb']:.1f} GB", in_hours(quick["hours_24gb"]), in_hours(paper["hours_h100"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def in_hours(hours: float | None) -> str:
    """As people say it; None is a run that does not fit."""
    if hours is None:
        return "does not fit"
    if hours < 1.5:
        return f"{60 * hours:.0f} min"
    return f"{hours:.0f} h" if hours < 2 * DAY else f"{hours / DAY:.0f} days"
