"""What the rows of the ablation study say: a table with intervals, paired tests, a plot and a picture sheet.

    python benchmarks/ablation_report.py                      from output/ablations, into the same folder
    python benchmarks/ablation_report.py --to benchmarks/results --from some/folder

Works with whatever rows there are.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from math import isnan
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools")]

from ablation_arms import ARMS, BY_NAME, MAIN  # noqa: E402
from ablation_grid import Grid, Job  # noqa: E402
from ablation_plot import plot  # noqa: E402
from ablation_study import IDENTITIES, OUTPUT, wanted  # noqa: E402
from paired import Comparison, Interval, arm_interval, compare  # noqa: E402

FIGURES = {
    "judge": "judge", "attributes": "attributes", "dynamic": "head motion", "prompt": "prompt",
    "drift_outside_head": "drift outside the head", "seconds": "seconds",
}  # fmt: skip
DIGITS = {"seconds": 0, "drift_outside_head": 3, "prompt": 3}


@dataclass(frozen=True)
class Question:
    """Whether ``arm`` has more of ``figure`` than ``other``; ``claim`` says so in words."""

    claim: str
    arm: str
    other: str
    figure: str


QUESTIONS = (
    Question("ours shows the person, the base model does not (aim: 0.6 or more)", "ours", "base", "judge"),
    Question("ours keeps the person better than reconstruction", "ours", "reconstruction", "judge"),
    Question("ours moves more than reconstruction", "ours", "reconstruction", "dynamic"),
    Question("ours keeps the prompt better than reconstruction", "ours", "reconstruction", "prompt"),
    Question("ours keeps the person better than reconstruction at our learning rate", "ours", "reconstruction_our_rate", "judge"),
    Question("ours moves more than reconstruction at our learning rate", "ours", "reconstruction_our_rate", "dynamic"),
    Question("ours keeps the person better than reconstruction in the same window", "ours", "reconstruction_late", "judge"),
    Question("SCR keeps motion", "ours", "no_scr", "dynamic"),
    Question("SCR keeps the prompt", "ours", "no_scr", "prompt"),
    Question("SCR keeps motion, with the paper's losses alone", "eq5", "eq5_no_scr", "dynamic"),
    Question("SCR keeps the prompt, with the paper's losses alone", "eq5", "eq5_no_scr", "prompt"),
    Question("prompt augmentation brings identity on new prompts", "ours", "no_augmentation", "judge"),
    Question("prompt augmentation keeps the prompt", "ours", "no_augmentation", "prompt"),
    Question("the last quarter moves more than all steps", "ours", "all_steps", "dynamic"),
    Question("the same, with the paper's losses alone", "eq5", "eq5_all_steps", "dynamic"),
    Question("the last quarter moves more than the last half", "ours", "half", "dynamic"),
    Question("ours moves more than the paper's losses alone", "ours", "eq5", "dynamic"),
    Question("videos teach the person better than single frames", "ours", "t2i", "judge"),
    Question("self-attention keeps the person better than cross-attention", "ours", "cross", "judge"),
    Question("self-attention alone keeps the prompt better than both", "ours", "self_cross", "prompt"),
    Question("five photos are better than one", "ours", "one_reference", "judge"),
    Question("the robust augmentation is better than the paper's, for the judge", "ours", "paper_augmentation", "judge"),
    Question("... and for the looks", "ours", "paper_augmentation", "attributes"),
    Question("gradient through 4 steps is better than through 1", "ours", "k1", "judge"),
    Question("gradient through 4 steps is better than through 2", "ours", "k2", "judge"),
)


def present(rows: list[dict]) -> list[str]:
    """Names of the arms that have rows, in the order of ARMS."""
    have = {row["arm"] for row in rows}
    return [arm.name for arm in ARMS if arm.name in have]


def answers(rows: list[dict]) -> list[tuple[Question, Comparison]]:
    """To the questions that some person has both arms of."""
    pairs = {(row["arm"], row["identity"], row["seed"]) for row in rows}
    return [
        (question, compare(rows, question.arm, question.other, question.figure)) for question in QUESTIONS
        if any((question.arm, *who) in pairs and (question.other, *who) in pairs for _, *who in pairs)
    ]


def table(rows: list[dict]) -> str:
    """Markdown: means with their intervals, then the questions."""
    people, seeds = len({row["identity"] for row in rows}), len({row["seed"] for row in rows})
    lines = [
        f"{len(rows)} rows, {people} people, {seeds} training seed{'s' * (seeds > 1)}, 24 held-out prompts each. Mean over people "
        "[95 % confidence interval]; seeds of one person are averaged first. Seconds are processor time of one thread for "
        "training, without the original model's clips, which all people and most arms share (24 s a seed for 50 prompts).",
        "",
        f"| arm | people | {' | '.join(FIGURES.values())} |",
        f"|---|---|{'---|' * len(FIGURES)}",
    ]
    for arm in present(rows):
        means = {figure: arm_interval(rows, arm, figure) for figure in FIGURES}
        cells = " | ".join(_interval(mean, DIGITS.get(figure, 2)) for figure, mean in means.items())
        lines.append(f"| {BY_NAME[arm].title} | {means['judge'].people} | {cells} |")
    lines += [
        "",
        "Paired differences over people; two-sided p of the paired t test and of Wilcoxon's signed-rank test.",
        "",
        "| question | figure | difference | people | t test | signed rank | |",
        "|---|---|---|---|---|---|---|",
    ]
    for question, result in answers(rows):
        lines.append(
            f"| {question.claim} | {FIGURES[question.figure]} | {_interval(result.difference, 3)} | {result.difference.people} "
            f"| {_p(result.t_test)} | {_p(result.wilcoxon)} | {verdict(result)} |"
        )
    return "\n".join(lines) + "\n"


def verdict(result: Comparison) -> str:
    """In one word: shown (p < 0.05), against (p < 0.05 the other way), or open."""
    if not result.t_test < 0.05:
        return "open"
    return "shown" if result.difference.mean > 0 else "against"


def _interval(mean: Interval, digits: int) -> str:
    if isnan(mean.low):
        return f"{mean.mean:.{digits}f}"
    return f"{mean.mean:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"


def _p(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def sheet(grid: Grid, rows: list[dict], people: int = 2):
    """Photos and the first held-out videos of the main arms, for the first people who have them all; None if nobody has."""
    from personalvideo_pack.evaluation.compare import Comparison, compare_sheet
    from personalvideo_pack.rewards.photos import read_folder
    from safetensors.torch import load_file

    captions = [line.replace(" V ", " sks ") for line in (ROOT / "demo" / "held_out.txt").read_text().splitlines()]
    have = {(row["arm"], row["identity"]) for row in rows if row["seed"] == 0}
    have = {pair for pair in have if grid.videos(Job(*pair, 0)).exists()}
    arms = [arm for arm in MAIN if any((arm, identity) in have for identity in IDENTITIES)]
    whole = [identity for identity in IDENTITIES if arms and all((arm, identity) in have for arm in arms)][:people]
    parts = []
    for identity in whole:
        clips = {arm: load_file(grid.videos(Job(arm, identity, 0)))["videos"].float() / 255 for arm in arms}
        photos = [photo.pixels for photo in read_folder(ROOT / "demo" / "identities" / identity)]
        shown = len(clips["base"])
        rows_of = [(_two_lines(BY_NAME[arm].title), list(clips[arm])) for arm in arms]
        parts.append(Comparison(identity, photos, captions[:shown], rows_of))
    return compare_sheet(parts) if parts else None


def _two_lines(title: str) -> str:
    first, _, rest = title.partition(" ")
    return f"{first}\n{rest}"


def write(source: Path, target: Path) -> str:
    """The report of the rows in ``source``, into ``target``: ablations.json, .md, .png, and _sheet.jpg. The text of it."""
    grid = Grid(source, wanted(full=True))
    rows = grid.rows()
    if not rows:
        raise ValueError(f"There are no rows in {source}; run `make ablations` first.")
    target.mkdir(parents=True, exist_ok=True)
    (target / "ablations.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    text = table(rows)
    (target / "ablations.md").write_text(text)
    plot(rows, [BY_NAME[arm] for arm in present(rows)], target / "ablations.png")
    picture = sheet(grid, rows)
    if picture is not None:
        picture.thumbnail((1600, 3000))
        picture.save(target / "ablations_sheet.jpg", quality=85)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=OUTPUT, help="folder with rows.jsonl and videos")
    parser.add_argument("--to", dest="target", type=Path, help="where the report goes; the same folder if not given")
    arguments = parser.parse_args()
    print(write(arguments.source, arguments.target or arguments.source))


if __name__ == "__main__":
    main()
