"""Where the late-step window begins on a sampling schedule (paper section 4.4)."""

import math

from torch import Tensor

from ..adapters.late_step import SigmaWindow

# The second of two experts takes over below this noise level; the value is Wan 2.2's own for text to video.
BOUNDARY = 0.875


def first_late_step(sigmas: Tensor, window: SigmaWindow, start_percent: float, scheduler: str, two_experts: bool = False) -> int:
    """The number, counted from 0, of the first sampling step inside ``window``.

    sigmas: [steps + 1] of ``scheduler``. window: the one that begins at ``start_percent``. two_experts: whether the first
    steps belong to a high-noise model. Raises ValueError if no step lies inside the window, or if the window begins in
    the steps of the high-noise model, which is not trained.
    """
    first = next((index for index, sigma in enumerate(sigmas[:-1].tolist()) if window.contains(sigma)), None)
    if first is None:
        raise ValueError(
            f"start_percent: none of the {len(sigmas) - 1} sampling steps lies after {start_percent:g} with the "
            f"{scheduler} scheduler; lower start_percent or raise sampling_steps."
        )
    if two_experts and first < early_steps(sigmas):
        raise ValueError(
            f"start_percent: {start_percent:g} lies in the steps of the high-noise model (noise level above {BOUNDARY:g}), "
            "which is not trained; raise it."
        )
    return first


def last_share(sigmas: Tensor, start_percent: float) -> SigmaWindow:
    """The window of a schedule of one's own, [steps + 1]: the last ``1 - start_percent`` of its steps, one at least."""
    steps = len(sigmas) - 1
    return SigmaWindow(float(sigmas[min(math.ceil(start_percent * steps), steps - 1)]), 0.0)


def early_steps(sigmas: Tensor) -> int:
    """How many steps of the schedule ``sigmas`` [steps + 1] belong to the first expert."""
    return int((sigmas[:-1] > BOUNDARY).sum())
