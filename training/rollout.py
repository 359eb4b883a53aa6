"""Sampling a video step by step, with gradient where it is wanted.

A rollout lives inside the host's own guider, so conditioning, guidance, style
LoRAs and every other patch on the user's MODEL act exactly as they do when the
core KSampler samples with ``euler`` (for noise-predicting models that is DDIM).
"""

from collections.abc import Callable
from typing import TypeVar

import comfy.model_management
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..host.autograd import (
    as_normal_tensors,
    attention_for_training,
    differentiable_kernels,
    forget_compilation,
    frozen,
    make_tensors_normal,
    moving_weights,
    restore_quantised,
    training_mode,
)
from ..host.checkpointing import recomputed
from .clip_batches import joined, most_together

Conditioning = list
Result = TypeVar("Result")


class Rollout:
    """The trajectory z_T -> z_0 of one model on one schedule, for any of the given prompts.

    sigmas: [steps + 1], the last one 0.
    """

    def __init__(
        self, guider: comfy.samplers.CFGGuider, sigmas: Tensor, extra_args: dict, latent: Tensor, prompt_sizes: list[int]
    ):
        self.guider = guider
        self.sigmas = sigmas
        self.latent = latent
        self._extra_args = extra_args
        self._negative = guider.conds["negative"]
        self._positives = list(guider.conds["positive"])
        self._prompt_sizes = prompt_sizes

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def dtype(self) -> torch.dtype:
        """In which the model computes."""
        return self.guider.inner_model.get_dtype_inference()

    def use_prompt(self, index: int) -> None:
        """Condition the following steps on prompt ``index``."""
        self.guider.conds = {"positive": self._positive(index), "negative": self._negative}

    def use_prompts(self, indices: list[int]) -> None:
        """Condition the following steps of a batch of clips on one prompt each; all have to be able to share a call."""
        self.use_prompt(indices[0])
        if len(indices) > 1:
            self.guider.conds["positive"] = joined([self._positive(index) for index in indices])

    def can_share(self, one: int, other: int) -> bool:
        """Whether clips of two prompts can be sampled in the same model calls."""
        return joined([self._positive(one), self._positive(other)]) is not None

    def most_together(self) -> int:
        """How many clips one model call should sample."""
        free = self.guider.model_patcher.get_free_memory(self.latent.device)
        return most_together(self.latent, self.guider.inner_model.memory_required, free)

    def _positive(self, index: int) -> Conditioning:
        first = sum(self._prompt_sizes[:index])
        return self._positives[first : first + self._prompt_sizes[index]]

    def start(self, seed: int, step: int = 0) -> Tensor:
        """z_T of section 4.1: pure noise, the same the host draws for ``seed``. Before a later ``step``: as much of it as
        is left then, on an empty clip."""
        noise = torch.randn(self.latent.shape, generator=torch.Generator().manual_seed(seed)).to(self.latent)
        full = step == 0 and comfy.samplers.Sampler().max_denoise(self.guider, self.sigmas)
        return self.guider.inner_model.model_sampling.noise_scaling(self.sigmas[step], noise, self.latent, full)

    def run(self, x: Tensor, first: int, last: int, checkpointing: bool = False) -> Tensor:
        """Euler steps ``first`` .. ``last - 1``; with checkpointing, each is recomputed in backward.

        Where no gradient is asked for, the host's fastest kernels run.
        """
        denoise = self._denoise_with_gradient if torch.is_grad_enabled() else self._denoise
        for index in range(first, last):
            sigma, next_sigma = self.sigmas[index], self.sigmas[index + 1]
            denoised = recomputed(denoise, x, sigma) if checkpointing else denoise(x, sigma)
            x = x + (x - denoised) / sigma * (next_sigma - sigma)
        return x

    def _denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return self.guider(x, sigma.expand(len(x)), **self._extra_args)

    def _denoise_with_gradient(self, x: Tensor, sigma: Tensor) -> Tensor:
        with differentiable_kernels():
            return self._denoise(x, sigma)

    def to_vae(self, x: Tensor) -> Tensor:
        """Latents of the last step -> latents as the VAE expects them."""
        x = self.guider.inner_model.model_sampling.inverse_noise_scaling(self.sigmas[-1], x)
        return self.guider.inner_model.process_latent_out(x)


class _InsideGuider:
    """Takes a sampler's place in the host's guider, and hands a rollout to ``body`` once everything is loaded and processed."""

    def __init__(self, body: Callable[[Rollout], object], prompt_sizes: list[int]):
        self.body = body
        self.result = None
        self.prompt_sizes = prompt_sizes

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
        for loaded in (model_wrap.model_patcher, *model_wrap.loaded_models):
            make_tensors_normal(loaded.model)
        model_wrap.conds = _detach_conditions(model_wrap.conds)
        with frozen(model_wrap.inner_model):
            sigmas, latent_image = as_normal_tensors(sigmas), as_normal_tensors(latent_image)
            self.result = self.body(Rollout(model_wrap, sigmas, extra_args, latent_image, self.prompt_sizes))
        return torch.zeros_like(noise)


def with_rollout(
    model: ModelPatcher,
    positives: list[Conditioning],
    negative: Conditioning,
    cfg: float,
    sigmas: Tensor,
    latent: Tensor,
    body: Callable[[Rollout], Result],
) -> Result:
    """Load ``model`` through the host and return ``body(rollout)``, called inside its guider with gradients on.

    model: a clone that the caller owns. positives: one CONDITIONING a prompt.
    latent: zeros of the video's latent shape, batch 1. Afterwards ``model`` has the attention of before again.
    """
    with training_mode(), attention_for_training(model):
        forget_compilation(model)
        model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, "personalvideo", _load_fully)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(as_normal_tensors([entry for positive in positives for entry in positive]), as_normal_tensors(negative))
        guider.set_cfg(cfg)
        sampler = _InsideGuider(body, [len(positive) for positive in positives])
        latent = as_normal_tensors(latent)
        try:
            guider.sample(torch.zeros_like(latent), latent, sampler, sigmas, disable_pbar=True)
            return sampler.result
        finally:
            model.detach(unpatch_all=False)
            for patcher in (model, *model.get_nested_additional_models()):
                restore_quantised(patcher.model)


def _load_fully(executor, *args, **kwargs):
    """The host may otherwise stream weights through buffers that it overwrites before backward reads them."""
    with moving_weights():
        return executor(*args, **kwargs | {"force_full_load": True})


def _detach_conditions(conds: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Processed conditions whose tensors backward may save."""
    for group in conds.values():
        for cond in group:
            for value in cond.get("model_conds", {}).values():
                value.cond = as_normal_tensors(value.cond)
    return conds
