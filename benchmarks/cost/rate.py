"""From operations to seconds: how fast training was measured to compute (benchmarks/results/gpu.json)."""

import json
from functools import cache

from benchmarks.gpu.gpu import RESULTS

OF_H100 = 785e12
"""Operations a second at which the H100 of those measurements multiplies large bf16 matrices."""
OF_24_GB = 165e12
"""The same of a GeForce RTX 4090, as its maker states it. Nobody has measured a training on one."""
UNET, TRANSFORMER = ("AnimateDiff",), ("HunyuanVideo", "Wan")


@cache
def share(family: str) -> float:
    """The mean share of that rate at which this kind of model trained: a UNet, or a transformer."""
    names = UNET if family == "sd15" else TRANSFORMER
    rows = json.loads(RESULTS.read_text())
    shares = [row["share_of_matrix_rate"] for row in rows if row["setting"].startswith(names) and "share_of_matrix_rate" in row]
    return sum(shares) / len(shares)


def seconds(operations: float, family: str, matrix_rate: float) -> float:
    """How long a card of this matrix rate takes."""
    return operations / (share(family) * matrix_rate)
