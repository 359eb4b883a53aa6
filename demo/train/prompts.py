"""Writes the demo world's two lists of prompts, which have no caption in common.

    python -m demo.train.prompts

``prompts/demo.txt`` is for reward tuning, and ``demo/held_out.txt`` for every figure that is reported.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from ..captions import caption, every_caption

ROOT = Path(__file__).parents[2]
TRAINING, HELD_OUT = 50, 24
SEED = 2


def spread(actions: list[tuple[int, int, int]], count: int) -> list[tuple[int, int, int]]:
    """``count`` of the actions, among which every scene, shirt and motion is about equally frequent."""
    used = [Counter(), Counter(), Counter()]
    chosen = []
    for _ in range(count):
        remaining = [action for action in actions if action not in chosen]
        best = min(remaining, key=lambda action: sum(counts[value] ** 2 for counts, value in zip(used, action)))
        chosen.append(best)
        for counts, value in zip(used, best):
            counts[value] += 1
    return chosen


def write(path: Path, actions: list[tuple[int, int, int]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(caption(*action, subject="V person") + "\n" for action in actions))


if __name__ == "__main__":
    shuffled = every_caption()
    random.Random(SEED).shuffle(shuffled)
    held_out = spread(shuffled, HELD_OUT)
    write(ROOT / "demo" / "held_out.txt", held_out)
    write(ROOT / "prompts" / "demo.txt", spread([action for action in shuffled if action not in held_out], TRAINING))
