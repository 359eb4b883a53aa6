"""The late-step window in a diffusers pipeline, where the adapter acts at the noise levels of its window and nowhere else.

The gate is that of ``SigmaWindow``. It goes by noise levels, ``end < sigma <= start``, and not by counting steps, so the
window is the same for any number of steps, any spacing, and truncated schedules.
"""

import math
import warnings

import torch
from torch import Tensor, nn

SIGMA_TOLERANCE = 1e-4
"""The tolerance of ``SigmaWindow``: schedules are float32 tables, and the ends of the window are formulas."""

SMALLEST_ALPHA = 4.9e-8
"""The signal that is left at the noisiest timestep of zero-SNR schedules, whose sigma would otherwise be infinite."""

REGISTER = "_late_step_callbacks"
"""The attribute of a denoiser that holds the callbacks in force, by adapter."""


def late_step_callback(
    pipe, adapter_name: str, start_percent: float = 0.75, end_percent: float = 1.0, shift: float | None = None
) -> "LateStepCallback":
    """Limit the loaded LoRA ``adapter_name`` of a diffusers pipeline to a window of noise levels.

    Call it after ``set_adapters``, whose strength it keeps, and pass the result as ``callback_on_step_end``.
    start_percent, end_percent: the window, where 0 is pure noise and 1 the end; see ``window_of``. shift: that of a flow
    schedule, by default the scheduler's own. Raises ValueError if the adapter is missing or merged, if the window does not
    rise within 0..1, or if the scheduler's noise levels cannot be determined.
    """
    if not 0 <= start_percent <= end_percent <= 1:
        raise ValueError(f"start_percent, end_percent: {start_percent:g} and {end_percent:g} must rise from 0 to 1.")
    start, end = (sigma_at_percent(pipe.scheduler, percent, shift) for percent in (start_percent, end_percent))
    return LateStepCallback(pipe, adapter_name, start, end)


class LateStepCallback:
    """Switches an adapter on and off by the noise level of each call of the pipeline's denoiser.

    The pipeline calls nothing before the first step, and nothing after an interrupted run, so the switch is a hook on the
    denoiser; the end of the last step gives the adapter its strength back. A new callback for the same adapter replaces
    the old one, and ``remove()`` undoes everything.
    """

    def __init__(self, pipe, adapter_name: str, start: float, end: float):
        self.pipe, self.adapter_name = pipe, adapter_name
        self.start, self.end = start, end
        self._acted = False
        denoisers = [
            part for name in ("transformer", "transformer_2", "unet") if isinstance(part := getattr(pipe, name, None), nn.Module)
        ]
        for part in denoisers:
            if previous := vars(part).setdefault(REGISTER, {}).pop(adapter_name, None):
                previous.remove()
        layers = {part: _layers(part, adapter_name) for part in denoisers}
        self._strengths = [(layer, layer.scaling[adapter_name]) for found in layers.values() for layer in found]
        if not self._strengths:
            raise ValueError(f"adapter_name: the pipeline's denoiser holds no LoRA called {adapter_name}; load it first.")
        self._handles = [
            part.register_forward_pre_hook(self._before_call, with_kwargs=True) for part, found in layers.items() if found
        ]
        for part in denoisers:
            vars(part)[REGISTER][adapter_name] = self

    def __call__(self, pipe, step: int, timestep, callback_kwargs: dict) -> dict:
        """The pipeline's ``callback_on_step_end``. Warns if the run had no step in the window."""
        if step + 1 >= pipe.num_timesteps:
            if not self._acted and self.end < self.start:
                warnings.warn(
                    f"{self.adapter_name} never acted: no step of this schedule lies in its window; "
                    "take more steps or a lower start_percent.",
                    stacklevel=2,
                )
            self._acted = False
            self._switch(True)
        return callback_kwargs

    def remove(self) -> None:
        """Let the adapter act everywhere again, with the strength that it has inside the window."""
        for handle in self._handles:
            handle.remove()
        for layer, strength in self._strengths:
            if layer.scaling.get(self.adapter_name) == 0:
                layer.scaling[self.adapter_name] = strength

    def contains(self, sigma: float) -> bool:
        return self.end * (1 + SIGMA_TOLERANCE) < sigma <= self.start * (1 + SIGMA_TOLERANCE)

    def _before_call(self, denoiser: nn.Module, args: tuple, kwargs: dict) -> None:
        timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
        acts = self.contains(sigma_of_timestep(self.pipe.scheduler, float(torch.as_tensor(timestep).max())))
        self._acted = self._acted or acts
        self._switch(acts)

    def _switch(self, on: bool) -> None:
        for layer, strength in self._strengths:
            layer.scaling[self.adapter_name] = strength if on else 0.0


def sigma_at_percent(scheduler, percent: float, shift: float | None = None) -> float:
    """The noise level at ``percent`` of the way from pure noise (0) to the clip (1), as ComfyUI counts it."""
    if percent <= 0:
        return math.inf
    if percent >= 1:
        return 0.0
    if _is_flow(scheduler):
        shift = _shift(scheduler) if shift is None else shift
        return shift * (1 - percent) / (1 + (shift - 1) * (1 - percent))
    levels = _discrete_sigmas(scheduler).log()
    position = (1 - percent) * (len(levels) - 1)
    below = math.floor(position)
    return float(torch.lerp(levels[below], levels[math.ceil(position)], position - below).exp())


def sigma_of_timestep(scheduler, timestep: float) -> float:
    """The noise level of a model call, whose timestep may have been rounded to the model's precision."""
    index = int((scheduler.timesteps.double() - timestep).abs().argmin())
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        return float(sigmas[index])
    return float(_discrete_sigmas(scheduler)[int(scheduler.timesteps[index])])


def _is_flow(scheduler) -> bool:
    return bool(scheduler.config.get("use_flow_sigmas")) or not hasattr(scheduler, "alphas_cumprod")


def _shift(scheduler) -> float:
    config = scheduler.config
    if config.get("use_flow_sigmas"):
        shift = config.get("flow_shift")
    else:
        # set_shift does not change the config
        shift = scheduler.shift if hasattr(type(scheduler), "shift") else config.get("shift")
    if shift is None or config.get("use_dynamic_shifting"):
        raise ValueError(
            f"shift: {type(scheduler).__name__} does not tell the shift of its schedule; "
            "give the one that the adapter was trained with."
        )
    return shift


def _discrete_sigmas(scheduler) -> Tensor:
    kept = scheduler.alphas_cumprod.double().clamp(min=SMALLEST_ALPHA)
    return ((1 - kept) / kept).sqrt()


def _layers(denoiser: nn.Module, adapter_name: str) -> list[nn.Module]:
    layers = [
        module for module in denoiser.modules() if hasattr(module, "lora_A") and adapter_name in getattr(module, "scaling", ())
    ]
    if any(getattr(layer, "merged", False) for layer in layers):
        raise ValueError(f"adapter_name: {adapter_name} is fused into the weights; call unfuse_lora first.")
    return layers
