"""Fair figures on a machine that others use too: processor seconds, taken in turns and compared round by round."""

import gc
import math
import time
from collections.abc import Callable, Sequence
from statistics import median

Seconds = dict[str, list[float]]


def in_turns(jobs: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> Seconds:
    """The processor seconds of each job in each round, after ``warm_up`` rounds that do not count.

    Every other round runs in the opposite order, so that a warm cache, or whatever slows the machine down for a while,
    affects all jobs alike.
    """
    seconds = {name: [] for name in jobs}
    for number in range(warm_up + rounds):
        for name in sorted(jobs, reverse=number % 2 == 1, key=list(jobs).index):
            gc.collect()
            started = time.process_time()
            jobs[name]()
            if number >= warm_up:
                seconds[name].append(time.process_time() - started)
    return seconds


def ratio(seconds: Seconds, above: str, below: str) -> float:
    """The median over the rounds of the quotient of two jobs' seconds within a round."""
    return median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def medians(seconds: Seconds) -> dict[str, float]:
    return {name: rounded(median(values)) for name, values in seconds.items()}


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The p of the least-squares fit cost = c * size ** p. Raises ValueError for fewer than two different sizes."""
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - mean_x) ** 2 for value in x)
    if not spread:
        raise ValueError("sizes: at least two different ones are needed for an exponent.")
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def rounded(value: float, digits: int = 4) -> float:
    """``value`` with so many significant ``digits``, as results are written."""
    return float(f"{value:.{digits}g}")
