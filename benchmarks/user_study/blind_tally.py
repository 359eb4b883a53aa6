"""Adds up the answers from the blind comparison page (see blind_page.py): how often each method was preferred.

    python -m benchmarks.user_study.blind_tally "answers Ann.json" "answers Bob.json"

The share of a method is that of the comparisons that it took part in, where "no difference" counts as half a win. The
interval is Wilson's of 95 %, which takes answers for independent of each other.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

Z = 1.959964  # the middle 95 % of a normal distribution are within so many deviations


@dataclass(frozen=True)
class Share:
    """A method's share for a question: points (win 1, no difference 1/2) in ``answers`` comparisons, and its interval."""

    answers: int
    points: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.points / self.answers


def wilson(points: float, answers: int) -> tuple[float, float]:
    """Wilson's interval for the share ``points / answers``; its limits are in 0..1."""
    share, weight = points / answers, Z * Z / answers
    middle = (share + weight / 2) / (1 + weight)
    reach = Z / (1 + weight) * sqrt(share * (1 - share) / answers + weight / (4 * answers))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def read_answers(path: Path) -> dict:
    """The answers that the page has saved. Raises ValueError if the file is missing or holds something else."""
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        complete = {"page", "rater"} <= set(file) and all(
            {"question", "left", "right", "choice"} <= set(each) for each in file["answers"]
        )
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}.") from None
    except (OSError, ValueError, TypeError, KeyError):
        complete = False
    if not complete:
        raise ValueError(f"{path} holds no answers of the blind page.")
    return file


def tally(files: list[dict]) -> dict[tuple[str, str], Share]:
    """The shares by (question, method).

    Raises ValueError for files from different pages, two files from one rater, or no answer at all.
    """
    if len({file["page"] for file in files}) > 1:
        raise ValueError("The answers belong to different pages; tally those of one page at a time.")
    twice = [rater for rater, count in Counter(file["rater"] for file in files).items() if count > 1 and rater]
    if twice:
        raise ValueError(f"There are two files of {twice[0]}; leave the older one out.")
    points, answers = Counter(), Counter()
    for file in files:
        for answer in file["answers"]:
            for method in (answer["left"], answer["right"]):
                key = answer["question"], method
                answers[key] += 1
                points[key] += 0.5 if answer["choice"] is None else float(answer["choice"] == method)
    if not answers:
        raise ValueError("There is not a single answer in these files.")
    return {key: Share(count, points[key], *wilson(points[key], count)) for key, count in answers.items()}


def table(shares: dict[tuple[str, str], Share]) -> str:
    """The Markdown of the shares, with a row for each method and a column for each question."""
    questions = list(dict.fromkeys(question for question, _ in shares))
    methods = sorted({method for _, method in shares})
    lines = [f"| method | {' | '.join(questions)} |", f"|---|{'---|' * len(questions)}"]
    for method in methods:
        cells = [_cell(shares.get((question, method))) for question in questions]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(share: Share | None) -> str:
    if share is None:
        return "-"
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {share.answers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", nargs="+", type=Path, help="files that the page has saved")
    arguments = parser.parse_args()
    try:
        shares = tally([read_answers(path) for path in arguments.answers])
    except ValueError as error:
        parser.error(f"{error}")
    print(table(shares))


if __name__ == "__main__":
    main()
