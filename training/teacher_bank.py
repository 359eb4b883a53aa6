"""What the frozen model contributes to every training step, computed once.

The adapter is off before the late-step window, so the trajectory up to the
window and the whole video of the original model G_S are constants of
(prompt, initial noise). Remembering them changes speed, never results.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..rewards.faces import Face, FaceModel, largest_faces
from ..rewards.semantic import SemanticReward
from .frame_decoder import FrameDecoder
from .rollout import Rollout


@dataclass
class TeacherClip:
    """The original model's video for one prompt and one initial noise.

    switch_latents: z at the first step of the window. latents: z_0, ready for the VAE.
    frames, faces, scores: what has been asked for so far, by frame index.
    """

    prompt: int
    switch_latents: Tensor
    latents: Tensor
    frames: dict[int, Tensor] = field(default_factory=dict)
    faces: dict[int, Face | None] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)


class TeacherBank:
    """Teacher clips by (prompt, noise seed).

    remember: False recomputes every clip, which gives the same losses, slowly.
    """

    def __init__(
        self,
        rollout: Rollout,
        decoder: FrameDecoder,
        face_model: FaceModel,
        semantic_reward: SemanticReward | None,
        text_features: Tensor | None,
        first_late_step: int,
        remember: bool = True,
    ):
        self.rollout = rollout
        self.decoder = decoder
        self.face_model = face_model
        self.semantic_reward = semantic_reward
        self.text_features = text_features
        self.first_late_step = first_late_step
        self.remember = remember
        self._clips: dict[tuple[int, int], TeacherClip] = {}

    @torch.no_grad()
    def clip(self, prompt: int, seed: int) -> TeacherClip:
        """Sample the teacher's clip, or recall it. The adapter must be disabled by the caller."""
        if (prompt, seed) in self._clips:
            return self._clips[prompt, seed]
        self.rollout.use_prompt(prompt)
        switch = self.rollout.run(self.rollout.start(seed), 0, self.first_late_step)
        latents = self.rollout.to_vae(self.rollout.run(switch, self.first_late_step, self.rollout.steps))
        clip = TeacherClip(prompt, switch, latents)
        if self.remember:
            self._clips[prompt, seed] = clip
        return clip

    @torch.no_grad()
    def frames(self, clip: TeacherClip, indices: list[int]) -> Tensor:
        """The teacher's frames [N, 3, H, W], clamped to 0..1."""
        missing = [index for index in indices if index not in clip.frames]
        if missing:
            decoded = self.decoder.decode(clip.latents, missing).clamp(0, 1)
            clip.frames.update(zip(missing, decoded))
        return torch.stack([clip.frames[index] for index in indices])

    def largest_faces(self, clip: TeacherClip, indices: list[int]) -> list[Face | None]:
        """The teacher's largest face in each frame."""
        missing = [index for index in indices if index not in clip.faces]
        if missing:
            clip.faces.update(zip(missing, largest_faces(self.face_model, self.frames(clip, missing))))
        return [clip.faces[index] for index in indices]

    @torch.no_grad()
    def semantic_scores(self, clip: TeacherClip, indices: list[int]) -> Tensor:
        """R_sem(G_S(z_T, c, i)) of Eq. 3 for each frame i, [N]."""
        missing = [index for index in indices if index not in clip.scores]
        if missing:
            scores = self.semantic_reward.score(self.frames(clip, missing), self.text_features[clip.prompt])
            clip.scores.update(zip(missing, scores.tolist()))
        return torch.tensor([clip.scores[index] for index in indices])
