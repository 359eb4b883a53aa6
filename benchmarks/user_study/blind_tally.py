"""Adds up the answers of the blind comparison page (see blind_page.py): how often each method was preferred.

    python -m benchmarks.user_study.blind_tally "answers Ann.json" "answers Bob.json"

The share of a method is that of the comparisons it took part in, "no difference" counted as half a win; the interval is
Wilson's 95 % one, which takes answers as independent of each other.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

Z = 1.959964  # of a normal distribution's middle 95 %


@dataclass(frozen=True)
class Share:
    """Of one method and question: points (win 1, no difference 1/2) in ``answers`` comparisons, with Wilson's interval."""

    answers: int
    points: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.points / self.answers


def wilson(points: float, answers: int) -> tuple[float, float]:
    """Interval of a share ``points / answers``, both within 0..1."""
    share, weight = points / answers, Z * Z / answers
    middle = (share + weight / 2) / (1 + weight)
    reach = Z / (1 + weight) * sqrt(share * (1 - share) / answers + weight / (4 * answers))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def read_answers(path: Path) -> dict:
    """What the page has saved. ValueError: the file holds something else, or is not there."""
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        complete = all(isinstance(file[field], str) for field in ("page", "rater")) and all(map(_is_answer, file["answers"]))
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}.") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        complete = False
    if not complete:
        raise ValueError(f"{path} holds no answers of the blind page.")
    return file


def _is_answer(each: dict) -> bool:
    texts = [each[field] for field in ("question", "left", "right")]
    return all(isinstance(text, str) for text in texts) and each["choice"] in (None, *texts[1:])


def tally(files: list[dict]) -> dict[tuple[str, str], Share]:
    """Shares by (question, method). ValueError: files of different pages, two of one rater, or no answer at all."""
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
    """Markdown: a row a method, a column a question."""
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
