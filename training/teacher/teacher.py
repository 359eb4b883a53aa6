"""The frozen original model G_S, which gives the whole video for a prompt and an initial noise."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ...adapters.late_step import LateStepInjection
from ...rewards.faces import FaceModel, largest_faces
from ...rewards.semantic import PromptScorer
from ..decoding.frame_decoder import FrameDecoder
from ..rollout import Rollout
from .clip import ClipKey, TeacherClip
from .high_noise_expert import EarlySteps

# So many frames are scored at once, which bounds the memory of a large image encoder.
SCORED_TOGETHER = 8


@dataclass
class Teacher:
    """Samples clips with the adapter switched off, and measures what a training step needs to know about them.

    scorer: the semantic reward's, or None without one. early_steps: what the first expert has made of the noise, if the
    model has two experts.
    """

    rollout: Rollout
    decoder: FrameDecoder
    face_model: FaceModel
    scorer: PromptScorer | None
    injection: LateStepInjection
    first_late_step: int
    early_steps: EarlySteps | None = None

    def clips(self, keys: list[ClipKey]) -> list[TeacherClip]:
        """The clips of ``keys``, sampled in the same model calls. Raises ValueError if a value in one is not finite."""
        with self._frozen():
            self.rollout.use_prompts([prompt for prompt, _ in keys])
            if self.early_steps is None:
                starts, step = [self.rollout.start(seed) for _, seed in keys], 0
            else:
                starts = [self.early_steps.of(key).to(self.rollout.latent) for key in keys]
                step = self.early_steps.steps
            switch = self.rollout.run(torch.cat(starts), step, self.first_late_step)
            end = self.rollout.run(switch, self.first_late_step, self.rollout.steps)
            one = len(self.rollout.latent)
            return [self._clip(prompt, *parts) for (prompt, _), *parts in zip(keys, switch.split(one), end.split(one))]

    def finished(self, clip: TeacherClip) -> TeacherClip:
        """``clip`` sampled again from where its window opens and decoded by the present decoder."""
        with self._frozen():
            self.rollout.use_prompt(clip.prompt)
            switch = clip.switch_latents.to(self.rollout.latent)
            return self._clip(clip.prompt, switch, self.rollout.run(switch, self.first_late_step, self.rollout.steps))

    @contextmanager
    def _frozen(self):
        self.injection.enabled = False
        try:
            with torch.no_grad():
                yield
        finally:
            self.injection.enabled = True

    def _clip(self, prompt: int, switch: Tensor, end: Tensor) -> TeacherClip:
        if not torch.isfinite(end).all():
            raise ValueError(
                "model: its own video, without the adapter, is not made of numbers; load the model in bf16 "
                "instead of fp16, or without the patches that are on it."
            )
        frames = self.decoder.decode_clip(self.rollout.to_vae(end))
        if not torch.isfinite(frames).all():
            raise ValueError("vae: it makes pictures that are not made of numbers; start ComfyUI with --fp32-vae or --bf16-vae.")
        scores = None
        if self.scorer is not None:
            scores = torch.cat([self.scorer.score(part, prompt) for part in frames.split(SCORED_TOGETHER)]).cpu()
        faces = largest_faces(self.face_model, frames)
        return TeacherClip(prompt, switch.cpu().clone(), frames.half().cpu(), faces, scores)
