"""The paper's Table 1 and, below it, what was measured here."""

from collections.abc import Mapping, Sequence
from math import isnan

from paired import interval

PAPER = {  # Table 1: 20 people x 50 prompts, one A800; CLIP-T and CLIP-I of OpenAI's CLIP
    "DreamBooth": (42.62, 13.86, 1325.89, 0.9919, 26.26, 44.27),
    "MagicMe": (50.51, 11.88, 1336.73, 0.9928, 25.48, 73.03),
    "IDAnimator": (43.88, 14.33, 1538.44, 0.9912, 24.33, 50.23),
    "ConsisID": (53.22, 15.22, 1622.21, 0.9923, 25.39, 74.58),
    "PersonalVideo": (62.35, 17.80, 1272.32, 0.9935, 26.30, 76.48),
}
COLUMNS = {  # of the paper: (the node's metric, factor, digits)
    "Face Sim.": ("Face Similarity", 100, 2), "Dyna. Deg.": ("Dynamic Degree", 100, 2), "FVD": (None, 1, 2),
    "T. Cons.": ("Temporal Consistency", 1, 4), "CLIP-T": ("CLIP-T", 1, 2), "CLIP-I": ("CLIP-I", 1, 2),
}  # fmt: skip


def table(rows: Sequence[dict], methods: Sequence[str], distances: Mapping[str, float]) -> str:
    """Markdown: the paper's Table 1, below it the rows' means with 95 % confidence intervals over people.

    distances: FVD by method, empty if it was not measured.
    """
    lines = [f"| method | videos | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for name, figures in PAPER.items():
        cells = [f"{value:.{digits}f}" for value, (_, _, digits) in zip(figures, COLUMNS.values())]
        lines.append(f"| {name}, the paper | 1000 | {' | '.join(cells)} |")
    for name in methods:
        own = [row for row in rows if row["key"][0] == name]
        if own:
            cells = [_cell(own, *column) for column in COLUMNS.values()]
            if name in distances:
                cells[list(COLUMNS).index("FVD")] = f"{distances[name]:.2f}"
            lines.append(f"| {name}, here | {len(own)} | {' | '.join(cells)} |")
    how = dict(sorted({(metric, text) for row in rows for metric, text in row["how"].items() if metric == "Attention"}))
    measured = rows[-1]["how"] if rows else {}
    lines += ["", "Mean over people [95 % confidence interval]. The paper's and these figures can be compared only where people, "
              "prompts, judge, flow and CLIP model are the same.",
              "- FVD: of torchvision's S3D to the given real videos; the paper's is of I3D, so the two cannot be compared. It "
              "shrinks with the number of videos: compare methods that have as many." if distances
              else "- FVD: not measured; it needs real videos and S3D's weights, see fvd in table1.example.toml."]
    lines += [f"- {metric}: {text}" for metric, text in (measured | how).items() if metric != "Video"]
    return "\n".join(lines) + "\n"


def _cell(rows: Sequence[dict], metric: str | None, factor: float, digits: int) -> str:
    by_person: dict[str, list[float]] = {}
    for row in rows:
        if metric in row["figures"]:
            by_person.setdefault(row["key"][1], []).append(factor * row["figures"][metric])
    if not by_person:
        return "-"
    mean = interval([sum(values) / len(values) for values in by_person.values()])
    if isnan(mean.low):
        return f"{mean.mean:.{digits}f}"
    return f"{mean.mean:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"
