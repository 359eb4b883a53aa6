"""The report on the rows of the ablation study: a table with intervals, paired tests, a plot and a sheet of pictures.

    python -m benchmarks.ablations.report                      from output/ablations, into the same folder
    python -m benchmarks.ablations.report --to benchmarks/results --from some/folder

It works with whatever rows there are.
"""

import argparse
import json
from math import isnan
from pathlib import Path

from benchmarks.ablations.arms import ARMS, BY_NAME, MAIN
from benchmarks.ablations.grid import Grid, Job
from benchmarks.ablations.paired import Comparison, Interval, arm_interval, holm
from benchmarks.ablations.plot import plot
from benchmarks.ablations.questions import FEWEST_PEOPLE, LATER, PLANNED, Question, answers, verdict
from benchmarks.ablations.study import IDENTITIES, OUTPUT, wanted
from devkit.comfy_host import ROOT

FIGURES = {
    "judge": "judge", "attributes": "attributes", "dynamic": "head motion", "prompt": "prompt",
    "drift_outside_head": "drift outside the head", "seconds": "seconds",
}  # fmt: skip
SHEET = (*MAIN, "eq5", "eq5_no_scr")
DIGITS = {"seconds": 0, "drift_outside_head": 3, "prompt": 3}


def present(rows: list[dict]) -> list[str]:
    """The names of the arms that have rows, in the order of ARMS."""
    have = {row["arm"] for row in rows}
    return [arm.name for arm in ARMS if arm.name in have]


def table(rows: list[dict]) -> str:
    """The Markdown of the report: means with their intervals, then the questions."""
    people, seeds = len({row["identity"] for row in rows}), len({row["seed"] for row in rows})
    lines = [
        f"{len(rows)} rows, {people} people, {seeds} training seed{'s' * (seeds > 1)}, 24 held-out prompts each. "
        "Mean over people [95 % confidence interval]; seeds of one person are averaged first. "
        "Seconds are processor time of one thread for training, without the original model's clips, which all people and "
        "most arms share; rows made on different computers cannot be compared in them. "
        "The judge recognizer, the attribute classifier and the locator that measures motion were never a reward; "
        "the prompt score is of the image-text scorer whose scores SCR compares, as the demo has no other.",
        "",
        f"| arm | people | rows | {' | '.join(FIGURES.values())} |",
        f"|---|---|---|{'---|' * len(FIGURES)}",
    ]
    for arm in present(rows):
        means = {figure: arm_interval(rows, arm, figure) for figure in FIGURES}
        cells = " | ".join(_interval(mean, DIGITS.get(figure, 2)) for figure, mean in means.items())
        count = sum(row["arm"] == arm for row in rows)
        lines.append(f"| {BY_NAME[arm].title} | {means['judge'].people} | {count} | {cells} |")
    lines += [
        "",
        "Paired differences over people; two-sided p of the paired t test, the same corrected for the number of questions "
        "in its table (Holm), and of Wilcoxon's signed-rank test. A claim is shown where the whole interval lies above its "
        "aim (0 where it names none), refuted where it lies below, and open otherwise and with fewer than "
        f"{FEWEST_PEOPLE} people.",
    ]
    for heading, questions in (("Planned before the study", PLANNED), ("Asked when rows had been seen", LATER)):
        if found := answers(rows, questions):
            lines += [
                "",
                f"| {heading} | figure | difference | people | t test | Holm | signed rank | |",
                "|---|---|---|---|---|---|---|---|",
            ]
            corrected = holm([result.t_test for _, result in found])
            lines += [_answer(*each, p) for each, p in zip(found, corrected)]
    return "\n".join(lines) + "\n"


def _answer(question: Question, result: Comparison, corrected: float) -> str:
    difference = result.difference
    return (
        f"| {question.claim} | {FIGURES[question.figure]} | {_interval(difference, 3)} | {difference.people} "
        f"| {_p(result.t_test)} | {_p(corrected)} | {_p(result.wilcoxon)} | {verdict(question, result)} |"
    )


def _interval(mean: Interval, digits: int) -> str:
    if isnan(mean.low):
        return f"{mean.mean:.{digits}f}"
    return f"{mean.mean:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"


def _p(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def sheet(grid: Grid, rows: list[dict], people: int = 2):
    """A sheet of photos and the first held-out videos of the arms in SHEET, for the first people who have them all.

    None if nobody has them all.
    """
    from safetensors.torch import load_file

    from devkit.compare_sheet import Comparison, compare_sheet
    from personalvideo_pack.rewards.photos import read_folder

    captions = [line.replace(" V ", " sks ") for line in (ROOT / "demo" / "held_out.txt").read_text().splitlines()]
    have = {(row["arm"], row["identity"]) for row in rows if row["seed"] == 0}
    arms = [arm for arm in SHEET if any((arm, identity) in have for identity in IDENTITIES)]
    have = {pair for pair in have if grid.videos(Job(*pair, 0)).exists()}
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
    """Write the report on the rows in ``source`` to ``target`` (ablations.json, .md, .png and _sheet.jpg); its text."""
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
