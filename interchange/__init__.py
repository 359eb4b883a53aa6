"""Interchange with diffusers and peft: the adapter's file in their formats, its window in their pipelines.

Everything in this folder imports torch, safetensors and the folder itself, nothing
else: a diffusers user has no ComfyUI, and the pack around it cannot be imported
without one. So it works as a subpackage of the pack and as a package of its own,
``import interchange`` with the pack's folder (or a copy of this one) on the path.
"""

from .convert import from_diffusers, from_peft, to_diffusers, to_peft, window_of
from .late_step_callback import LateStepCallback, late_step_callback

__all__ = [
    "LateStepCallback", "from_diffusers", "from_peft", "late_step_callback", "to_diffusers", "to_peft", "window_of",
]  # fmt: skip
