"""The paper's Table 1 and, below it, the figures measured here."""

import re
from collections.abc import Mapping, Sequence
from math import isnan

from benchmarks.ablations.paired import interval

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


MADE_BY = {  # the definition, and the part of the node's explanation that names the network
    "Face Similarity": ("mean of max(0, cosine) to the photos, over the frames with a face", r"judge: (.*?)(?:, which .*)?$"),
    "Dynamic Degree": ("share of videos that move by VBench's definition", r"flow: (.*)$"),
    "Temporal Consistency": ("mean cosine of neighbouring frames", r"features: (.*)$"),
    "CLIP-T": ("100 x mean cosine of frames and prompt", r"features: (.*)$"),
    "CLIP-I": ("100 x mean cosine of frames and photos", r"features: (.*)$"),
}  # fmt: skip


def table(rows: Sequence[dict], methods: Sequence[str], distances: Mapping[str, float], fvd: bool) -> str:
    """The Markdown of the paper's Table 1 and, below it, the means of the rows with 95 % confidence intervals over people.

    distances: FVD by method, empty if it was not measured. fvd: whether it was asked for.
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
    lines += [
        "",
        "Mean over people [95 % confidence interval]. The paper's and these figures can be compared only where people, "
        "prompts, judge, flow and CLIP model are the same.",
        f"- FVD: {_fvd_note(distances, fvd)}",
    ]
    lines += [f"- {metric}: {_note(rows, metric)}" for metric in MADE_BY]
    warnings = {row["how"]["Attention"] for row in rows if "Attention" in row["how"]}
    return "\n".join(lines + [f"- Attention: {warning}" for warning in sorted(warnings)]) + "\n"


def _fvd_note(distances: Mapping[str, float], asked: bool) -> str:
    if distances:
        return (
            "of torchvision's S3D to the given real videos; the paper's is of I3D, so the two cannot be compared. It "
            "shrinks with the number of videos: compare methods that have as many."
        )
    if asked:
        return "not measured yet; that is done when all videos are there, of methods that have two or more."
    return "not measured; it needs real videos and S3D's weights, see fvd in benchmarks/table1/example.toml."


def _note(rows: Sequence[dict], metric: str) -> str:
    """What the figure is and which network made it, or all networks, if not all rows have the same one."""
    definition, pattern = MADE_BY[metric]
    measured = [row["how"][metric] for row in rows if metric in row["figures"]]
    if not measured:
        return next((f"not measured; {row['how'][metric]}." for row in rows if metric in row["how"]), "not measured.")
    networks = sorted({found[1] for how in measured if (found := re.search(pattern, how))})
    if len(networks) > 1:
        return f"{definition}; NOT COMPARABLE, as it is of {' and of '.join(networks)}."
    return f"{definition}; by {networks[0]}." if networks else f"{definition}."


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
