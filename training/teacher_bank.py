"""What the frozen model contributes to every training step, computed once.

The adapter is off before the late-step window, so the trajectory up to the
window and the whole video of the original model G_S are constants of
(prompt, initial noise). Remembering them changes speed, never results.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rewards.faces import Face, FaceModel, largest_faces
from ..rewards.semantic import SemanticReward
from .frame_decoder import FrameDecoder
from .high_noise_expert import EarlySteps
from .rollout import Rollout


@dataclass(frozen=True)
class TeacherClip:
    """The original model's video for one prompt and one initial noise.

    switch_latents: z at the first step of the window. frames: [F, 3, H, W] in 0..1, half
    precision, on the CPU. faces: the largest face of each frame. scores: R_sem(G_S(z_T, c, i))
    of Eq. 3 for each frame i, [F], None without a semantic reward.
    """

    prompt: int
    switch_latents: Tensor
    frames: Tensor
    faces: list[Face | None]
    scores: Tensor | None


# Frames scored at once: bounds the memory of a large image encoder.
SCORED_TOGETHER = 8


class TeacherBank:
    """Teacher clips by (prompt, noise seed).

    text_features: of every prompt, for the semantic reward. early_steps: of another expert,
    if the model has two. clips: where they are remembered; with None every clip is sampled again
    when it is needed, which gives the same losses, slowly.
    """

    def __init__(
        self,
        rollout: Rollout,
        decoder: FrameDecoder,
        face_model: FaceModel,
        semantic_reward: SemanticReward | None,
        text_features: Tensor | None,
        first_late_step: int,
        early_steps: EarlySteps | None = None,
        clips: MutableMapping[tuple[int, int], TeacherClip] | None = None,
    ):
        self.rollout = rollout
        self.decoder = decoder
        self.face_model = face_model
        self.semantic_reward = semantic_reward
        self.text_features = text_features
        self.first_late_step = first_late_step
        self.early_steps = early_steps
        self.clips = clips

    def clip(self, prompt: int, seed: int) -> TeacherClip:
        """Recall the teacher's clip, or sample it. The adapter must be disabled by the caller."""
        if self.clips is None:
            return self._sample(prompt, seed)
        if (prompt, seed) not in self.clips:
            self.clips[prompt, seed] = self._sample(prompt, seed)
        return self.clips[prompt, seed]

    @torch.no_grad()
    def _sample(self, prompt: int, seed: int) -> TeacherClip:
        self.rollout.use_prompt(prompt)
        if self.early_steps is None:
            x, step = self.rollout.start(seed), 0
        else:
            x, step = self.early_steps.latents[prompt, seed].to(self.rollout.latent), self.early_steps.steps
        switch = self.rollout.run(x, step, self.first_late_step)
        latents = self.rollout.to_vae(self.rollout.run(switch, self.first_late_step, self.rollout.steps))
        frames = self.decoder.decode_clip(latents)
        scores = None
        if self.semantic_reward is not None:
            text = self.text_features[prompt]
            scores = torch.cat([self.semantic_reward.score(part, text) for part in frames.split(SCORED_TOGETHER)])
        return TeacherClip(prompt, switch, frames.half().cpu(), largest_faces(self.face_model, frames), scores)
