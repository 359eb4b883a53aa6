"""Interchange with diffusers and peft: the adapter's file in their formats, and its window in their pipelines.

A user of diffusers has no ComfyUI, and the pack cannot be imported without one. So this folder imports nothing but torch,
safetensors and itself: it is a subpackage of the pack, and also a package of its own, ``import interchange``, if the pack's
folder (or one with a copy of this one) is on the path.
"""

from .convert import from_diffusers, from_peft, to_diffusers, to_peft, window_of
from .late_step_callback import LateStepCallback, late_step_callback

__all__ = [
    "LateStepCallback", "from_diffusers", "from_peft", "late_step_callback", "to_diffusers", "to_peft", "window_of",
]  # fmt: skip
