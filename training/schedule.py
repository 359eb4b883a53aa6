"""Where the late-step window begins on a sampling schedule (paper section 4.4)."""

from torch import Tensor

from ..adapters.late_step import SigmaWindow
from .high_noise_expert import BOUNDARY, early_steps
from .settings import TrainingSettings


def first_late_step(sigmas: Tensor, window: SigmaWindow, settings: TrainingSettings, two_experts: bool) -> int:
    """Number, from 0, of the first sampling step inside ``window``.

    sigmas: [steps + 1]. two_experts: the first steps belong to a high-noise model. Raises ValueError where no step
    lies inside the window, or where it begins in the steps of the high-noise model, which is not trained.
    """
    start = settings.start_percent
    first = next((index for index, sigma in enumerate(sigmas[:-1].tolist()) if window.contains(sigma)), None)
    if first is None:
        raise ValueError(
            f"start_percent: none of the {len(sigmas) - 1} sampling steps lies after {start:g} with the "
            f"{settings.scheduler} scheduler; lower start_percent or raise sampling_steps."
        )
    if two_experts and first < early_steps(sigmas):
        raise ValueError(
            f"start_percent: {start:g} lies in the steps of the high-noise model (noise level above {BOUNDARY:g}), "
            "which is not trained; raise it."
        )
    return first
