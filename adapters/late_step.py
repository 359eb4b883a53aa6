"""Gated late-step injection: the adapter acts in a window of noise levels and nowhere else.

This is the one gate of the project, used by the trainer and by the Apply node
alike. It opens by sigma, never by step index, so any sampler, any scheduler and
any truncated schedule see the same window.
"""

import sys
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import PatcherInjection, WrappersMP

from .low_rank import LowRank

# Schedules are float32 tables, percent_to_sigma is a float64 formula.
SIGMA_TOLERANCE = 1e-4


_call = threading.local()  # the host runs the clones of several GPUs in threads of their own


def current_sigma() -> float | None:
    """Noise level of the model call that this thread is in; None outside of one."""
    return getattr(_call, "sigma", None)


@contextmanager
def at_sigma(sigma: float | None):
    """Make ``sigma`` the current one: around every model call, and around its recomputation in backward."""
    before = current_sigma()
    _call.sigma = sigma
    try:
        yield
    finally:
        _call.sigma = before


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


class LateStepInjection:
    """Adds residuals to the named linears of a model while sigma is inside the window.

    The base weights are never read or written: each residual is added to the
    output of its linear by a forward hook that exists while the host holds the
    patcher's injections, and that does nothing outside the window. The window is that of
    the schedule the model runs with, also if a later node changes the schedule (its shift,
    AnimateDiff's betas).
    """

    def __init__(self, residuals: dict[str, LowRank], start_percent: float, end_percent: float):
        self.residuals = residuals
        self.start_percent = start_percent
        self.end_percent = end_percent
        self.enabled = True
        self._window = SigmaWindow(0.0, 0.0)
        self._hooks: dict[int, list] = {}

    def attach(self, patcher: ModelPatcher) -> None:
        """Hang the injection on ``patcher`` (a clone that the caller owns)."""
        key = f"personalvideo_{uuid.uuid4().hex}"
        patcher.set_injections(key, [PatcherInjection(self._inject, self._eject)])
        patcher.add_wrapper_with_key(WrappersMP.APPLY_MODEL, key, self._gate)

    def _inject(self, patcher: ModelPatcher) -> None:
        self._eject(patcher)
        self._hooks[id(patcher.model)] = [
            comfy.utils.get_attr(patcher.model, name).register_forward_hook(self._hook(residual))
            for name, residual in self.residuals.items()
        ]
        self._move(patcher.load_device)

    def _eject(self, patcher: ModelPatcher) -> None:
        handles = self._hooks.pop(id(patcher.model), ())
        for handle in handles:
            handle.remove()
        if handles and not sys.is_finalizing():  # the host ejects once more when Python exits
            self._move(patcher.offload_device)

    def _move(self, device: torch.device) -> None:
        # Weights moved under inference mode could not be trained, nor trained through.
        with torch.inference_mode(False):
            for residual in self.residuals.values():
                residual.to(device)

    def _hook(self, residual: LowRank):
        def add_residual(module, args, output):
            return residual.add_to(output, args[0]) if self._is_open() else output

        return add_residual

    def _is_open(self) -> bool:
        sigma = current_sigma()
        return self.enabled and sigma is not None and self._window.contains(sigma)

    def _gate(self, executor, x, sigma, *args, **kwargs):
        schedule = executor.class_obj.model_sampling
        self._window = SigmaWindow.from_percent(schedule, self.start_percent, self.end_percent)
        with at_sigma(float(sigma.max())):
            return executor(x, sigma, *args, **kwargs)
