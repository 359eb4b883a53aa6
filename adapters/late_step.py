"""Gated late-step injection: the adapter acts in a window of noise levels and nowhere else.

This is the one gate of the project, used by the trainer and by the Apply node
alike. It opens by sigma, never by step index, so any sampler, any scheduler and
any truncated schedule see the same window.
"""

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import PatcherInjection, WrappersMP

from .acting import Acting, ActingLinear, acting
from .low_rank import LowRank
from .step_caches import has_step_cache, make_fresh

# Schedules are float32 tables, percent_to_sigma is a float64 formula.
SIGMA_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SigmaWindow:
    """Noise levels ``end < sigma <= start`` in which the adapter acts."""

    start: float
    end: float

    @classmethod
    def from_percent(cls, model_sampling, start_percent: float, end_percent: float) -> "SigmaWindow":
        """Percents count from 0 (first, noisiest step) to 1 (end of sampling) of a host model's noise schedule."""
        to_sigma = model_sampling.percent_to_sigma
        return cls(float(to_sigma(start_percent)), float(to_sigma(end_percent)))

    def contains(self, sigma: float) -> bool:
        return self.end * (1 + SIGMA_TOLERANCE) < sigma <= self.start * (1 + SIGMA_TOLERANCE)


@dataclass(frozen=True)
class LateWindow:
    """Where the adapter acts, before it is known on which schedule.

    start_percent, end_percent: of the noise schedule that the model runs with. switch_sigma: the noise level that stands
    for start_percent, whatever the schedule. holds_last_step: the step that ends without noise is inside even if it
    starts above the window, unless the window closes before the end.
    """

    start_percent: float
    end_percent: float
    switch_sigma: float | None = None
    holds_last_step: bool = False

    def on(self, model_sampling, last_sigma: float | None = None) -> SigmaWindow:
        """In noise levels of ``model_sampling``. last_sigma: where the last step of the sampling starts, if it has one."""
        window = SigmaWindow.from_percent(model_sampling, self.start_percent, self.end_percent)
        start = window.start if self.switch_sigma is None else self.switch_sigma
        if self.holds_last_step and window.end == 0 and last_sigma is not None:
            start = max(start, last_sigma)
        return SigmaWindow(start, window.end)


@dataclass
class Sampling:
    """What the adapter did in one sampling.

    sigmas: its schedule, [steps + 1]. sigma_max: of the model's noise. cfg: None for guiders that have no such number.
    window: as soon as the model has been called. opened: whether the model was called inside it. idle: linears whose
    residual could not act although the window was open, as the model did not call them; of how many.
    """

    sigmas: list[float]
    sigma_max: float
    cfg: float | None
    window: SigmaWindow | None = None
    opened: bool = False
    idle: list[str] = field(default_factory=list)
    linears: int = 0

    @property
    def last_sigma(self) -> float | None:
        """Where its last step starts; None if it stops above noise level 0 and leaves the rest to another sampling."""
        return self.sigmas[-2] if len(self.sigmas) > 1 and self.sigmas[-1] == 0 else None

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def late_steps(self) -> int:
        """Its steps inside the window."""
        return sum(self.window.contains(sigma) for sigma in self.sigmas[:-1]) if self.window else 0


class LateStepInjection:
    """Adds residuals to the named linears of a model while sigma is inside the window.

    The base weights are never read or written: inside the window each residual is added to the output of its linear,
    outside of it the model is the original one. The window is that of the schedule the model runs with, also if a later
    node changes the schedule (its shift, AnimateDiff's betas).

    after_sampling: told of every sampling that has ended by itself.
    """

    def __init__(
        self,
        residuals: dict[str, LowRank],
        start_percent: float,
        end_percent: float,
        *,
        switch_sigma: float | None = None,
        holds_last_step: bool = False,
        after_sampling: Callable[[Sampling], None] | None = None,
    ):
        self.residuals = residuals
        self.window = LateWindow(start_percent, end_percent, switch_sigma, holds_last_step)
        self.enabled = True
        self.after_sampling = after_sampling
        self._linears: dict[int, Acting] = {}
        self._sampling: Sampling | None = None
        self._key = f"personalvideo_{uuid.uuid4().hex}"

    def attach(self, patcher: ModelPatcher) -> None:
        """Hang the injection on ``patcher`` (a clone that the caller owns)."""
        patcher.set_injections(self._key, [PatcherInjection(self._inject, self._eject)])
        patcher.add_wrapper_with_key(WrappersMP.APPLY_MODEL, self._key, self._gate)
        patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, self._key, self._watch)

    def _inject(self, patcher: ModelPatcher) -> None:
        self._eject(patcher)
        self._move_trained(patcher.load_device)
        dtype = patcher.model.get_dtype_inference()
        self._linears[id(patcher.model)] = [
            ActingLinear(comfy.utils.get_attr(patcher.model, name), residual, dtype, patcher.load_device)
            for name, residual in self.residuals.items()
        ]

    def _eject(self, patcher: ModelPatcher) -> None:
        linears = self._linears.pop(id(patcher.model), ())
        if linears and not sys.is_finalizing():  # the host ejects once more when Python exits
            self._move_trained(patcher.offload_device)

    def _move_trained(self, device: torch.device) -> None:
        # Weights moved under inference mode could not be trained.
        with torch.inference_mode(False):
            for residual in self.residuals.values():
                if residual.trained:
                    residual.to(device)

    def _gate(self, executor, x, sigma, *args, **kwargs):
        """Around every model call."""
        model, sampling = executor.class_obj, self._sampling
        window = self.window.on(model.model_sampling, sampling and sampling.last_sigma)
        is_open = self.enabled and window.contains(float(sigma.max()))
        linears = self._linears.get(id(model), []) if is_open else []
        with acting(linears):
            output = executor(x, sigma, *args, **kwargs)
        if sampling:
            sampling.window = window
            if is_open:
                sampling.opened = True
                sampling.idle = [name for name, linear in zip(self.residuals, linears) if not linear.ran]
                sampling.linears = len(linears)
        return output

    def _watch(self, executor, noise, latent, sampler, sigmas, *args, **kwargs):
        """Around every sampling."""
        guider, before = executor.class_obj, self._sampling
        schedule = guider.model_patcher.get_model_object("model_sampling")
        self._sampling = sampling = Sampling(sigmas.tolist(), float(schedule.sigma_max), getattr(guider, "cfg", None))
        options = guider.model_options["transformer_options"]  # the host's copy for this sampling
        if has_step_cache(options):
            wrappers = options.setdefault("wrappers", {})
            # Before those of caches, which would not call it in a step that they leave out.
            wrappers[WrappersMP.PREDICT_NOISE] = {
                self._key: [_FreshSteps(self.window, sampling)], **wrappers.get(WrappersMP.PREDICT_NOISE, {})
            }  # fmt: skip
        try:
            result = executor(noise, latent, sampler, sigmas, *args, **kwargs)
        finally:
            self._sampling = before
        if self.after_sampling:
            self.after_sampling(sampling)
        return result


class _FreshSteps:
    """Around every step of a sampling with a step cache."""

    def __init__(self, window: LateWindow, sampling: Sampling):
        self.window = window
        self.sampling = sampling
        self._was_open = False

    def __call__(self, executor, x, sigma, model_options, *args, **kwargs):
        schedule = executor.class_obj.inner_model.model_sampling
        is_open = self.window.on(schedule, self.sampling.last_sigma).contains(float(sigma.max()))
        if is_open != self._was_open:
            make_fresh(model_options["transformer_options"])
        self._was_open = is_open
        return executor(x, sigma, model_options, *args, **kwargs)
