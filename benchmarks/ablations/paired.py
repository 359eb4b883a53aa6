"""Paired statistics of the ablation rows.

The seeds of one person are repetitions and not people: figures are averaged over them first, and every test and interval
counts people. Two arms are compared on the (person, seed) pairs that both have.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over ``people`` and its confidence limits by Student's t, which are nan for fewer than two people."""

    people: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """How much more one arm has than another: the mean difference, and how likely chance alone would make it so large.

    t_test: the two-sided p of the paired t test. wilcoxon: the p of the signed-rank test, exact unless a difference is 0.
    Both are nan if they cannot be computed: for fewer than two people, or if all differences are equal.
    """

    difference: Interval
    t_test: float
    wilcoxon: float


def interval(values: Sequence[float]) -> Interval:
    """The interval for the mean of independent values. Raises ValueError if there are none."""
    from scipy import stats

    people = len(values)
    if not people:
        raise ValueError("There is no value to take the mean of.")
    mean = sum(values) / people
    if people < 2:
        return Interval(people, mean, nan, nan)
    error = sqrt(sum((value - mean) ** 2 for value in values) / (people - 1) / people)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, people - 1)) * error
    return Interval(people, mean, mean - reach, mean + reach)


def arm_interval(rows: Iterable[dict], arm: str, figure: str) -> Interval:
    """The interval for one figure of one arm."""
    by_person = defaultdict(list)
    for row in rows:
        if row["arm"] == arm:
            by_person[row["identity"]].append(row[figure])
    return interval([sum(values) / len(values) for values in by_person.values()])


def differences(rows: Iterable[dict], arm: str, other: str, figure: str) -> dict[str, float]:
    """The figure of ``arm`` minus that of ``other`` by person, averaged over the seeds that both have."""
    values = {(row["arm"], row["identity"], row["seed"]): row[figure] for row in rows}
    by_person = defaultdict(list)
    for (name, identity, seed), value in values.items():
        if name == arm and (other, identity, seed) in values:
            by_person[identity].append(value - values[other, identity, seed])
    return {identity: sum(each) / len(each) for identity, each in by_person.items()}


def compare(rows: Iterable[dict], arm: str, other: str, figure: str) -> Comparison:
    """Compare ``arm`` with ``other``. Raises ValueError if no person has both."""
    from scipy import stats

    values = list(differences(rows, arm, other, figure).values())
    difference = interval(values)
    if len(set(values)) < 2:
        return Comparison(difference, nan, nan)
    t_test = stats.ttest_1samp(values, 0.0).pvalue
    ranks = stats.wilcoxon(values, method="exact" if 0 not in values else "auto").pvalue
    return Comparison(difference, float(t_test), float(ranks))


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm, 1979), in the given order; nan stays nan and does not count."""
    from statsmodels.stats.multitest import multipletests

    known = [index for index, value in enumerate(values) if not isnan(value)]
    corrected = [nan] * len(values)
    if known:
        for index, value in zip(known, multipletests([values[index] for index in known], method="holm")[1]):
            corrected[index] = float(value)
    return corrected
