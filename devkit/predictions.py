"""What models predict at each noise level of a schedule for the same noisy clip: shows where an adapter acts."""

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from devkit.demo_world import PROMPTS


def schedule(model, scheduler: str, steps: int) -> Tensor:
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)


def predictions(world, model, sigmas: Tensor) -> list[Tensor]:
    """The denoised clip of each step of ``sigmas``, all of them from the same noise."""
    seen = []

    def every_step(model, x, sigmas, extra_args=None, callback=None, disable=None):
        seen.extend(model(x, sigma.expand(len(x)), **extra_args) for sigma in sigmas[:-1])
        return x

    noise = comfy.sample.prepare_noise(world.latent, 7)
    with torch.inference_mode():
        comfy.sample.sample_custom(
            model, noise, world.cfg, comfy.samplers.KSAMPLER(every_step), sigmas,
            world.encode(PROMPTS[-1]), world.encode(""), world.latent, disable_pbar=True, seed=7,
        )  # fmt: skip
    return seen


def acts(world, model, base, sigmas: Tensor) -> list[bool]:
    """Whether ``model`` differs in any bit from ``base`` in each step of ``sigmas``."""
    pairs = zip(predictions(world, model, sigmas), predictions(world, base, sigmas))
    return [not torch.equal(ours, theirs) for ours, theirs in pairs]
