"""The noise levels that come by a SIGMAS link, checked."""

import math

from torch import Tensor

PURE_NOISE = 0.9
"""Of the model's highest noise level: schedules that start above it start from pure noise."""


def noise_levels(sigmas: Tensor) -> list[float]:
    """[steps + 1], falling. Raises ValueError for anything else."""
    levels = sigmas.flatten().tolist()
    falling = all(before > after for before, after in zip(levels, levels[1:]))
    if len(levels) < 2 or not falling or not math.isfinite(levels[0]) or not levels[-1] >= 0:
        raise ValueError(
            f"sigmas: {_shown(levels)} is no falling row of noise levels, one more than steps; connect a scheduler node."
        )
    return levels


def whole_schedule(sigmas: Tensor, model) -> list[float]:
    """The same for a sampling from pure noise to the end. Raises ValueError for a part of a schedule."""
    levels = noise_levels(sigmas)
    highest = float(model.get_model_object("model_sampling").sigma_max)
    if levels[0] < PURE_NOISE * highest or levels[-1] != 0:
        raise ValueError(
            f"sigmas: they go from {levels[0]:.3g} to {levels[-1]:.3g}, and a training video is sampled from pure noise "
            f"({highest:.3g}) to 0; connect the whole schedule of a scheduler node."
        )
    return levels


def _shown(levels: list[float]) -> str:
    return f"[{', '.join(f'{level:.3g}' for level in levels[:4])}{', ...' if len(levels) > 4 else ''}]"
