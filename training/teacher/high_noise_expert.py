"""Models with two experts (Wan 2.2 14B), of which one denoises the first, noisy steps and the other the rest.

The late-step window lies in the second expert's steps, so the first is never trained: it makes the beginning of every
trajectory once, before training starts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapters.architectures import architecture_of
from ..rollout import Conditioning, Rollout, with_rollout
from ..schedule import early_steps
from .clip import ClipKey, noise_tolerance, relative_difference
from .stores import Store


@dataclass(frozen=True)
class EarlySteps:
    """What the first expert has made of the noise.

    steps: how many sampling steps it took. latents: where it arrived, by (prompt, noise seed), on the CPU.
    """

    steps: int
    latents: Store[Tensor]

    def of(self, clip: ClipKey) -> Tensor:
        """The latents that the second expert begins with. Raises ValueError if their file was removed during the run."""
        latents = self.latents.find(clip)
        if latents is None:
            raise ValueError(
                "bank_folder: files in it were removed while a run used them; start the run again, with its "
                "LoRA under existing_lora if it had saved one."
            )
        return latents


def check_pair(model: ModelPatcher, high_noise_model: ModelPatcher) -> None:
    """Raise ValueError unless the two models can be the experts of one."""
    own, other = architecture_of(model.model), architecture_of(high_noise_model.model)
    if own.name != other.name:
        raise ValueError(
            f"high_noise_model: it is a model of {other.title} and model is one of {own.title}; "
            "connect the high-noise model that belongs to model, or nothing."
        )
    if model.model is high_noise_model.model:
        raise ValueError(
            "high_noise_model: it is the same as model; connect the low-noise model to model, "
            "or nothing here for a model of one part."
        )


def sample_early_steps(
    model: ModelPatcher,
    positives: list[Conditioning],
    negative: Conditioning,
    cfg: float,
    sigmas: Tensor,
    latent: Tensor,
    clips: list[ClipKey],
    known: Store[Tensor],
    say: Callable[[str], None],
) -> EarlySteps:
    """The first expert's part of every one of ``clips``.

    model, positives, negative, cfg, sigmas and latent are those of ``with_rollout``. known: where the results are kept.
    The first clip is always sampled, and if ``known`` has something else for it, everything known is another model's and
    is forgotten. say: gets a line for the user before each clip.
    """
    made = EarlySteps(early_steps(sigmas), known)

    @torch.no_grad()
    def body(rollout: Rollout) -> None:
        for number, key in enumerate(clips, start=1):
            if number > 1 and key in known:
                continue
            say(f"High-noise model: first steps of clip {number} of {len(clips)}")
            prompt, seed = key
            rollout.use_prompt(prompt)
            latents = rollout.run(rollout.start(seed), 0, made.steps).cpu()
            if number == 1 and not _is_known(latents, known.find(key), noise_tolerance(rollout.dtype)):
                known.forget()
            known.keep(key, latents)

    if clips:
        with_rollout(model, positives, negative, cfg, sigmas, latent, body)
    return made


def _is_known(latents: Tensor, stored: Tensor | None, tolerance: float) -> bool:
    return stored is not None and stored.shape == latents.shape and relative_difference(stored, latents) <= tolerance
