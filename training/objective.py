"""The losses of one training step on decoded frames: Eq. 2, Eqs. 3 and 4, preservation, and their sum, Eq. 5."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rewards.faces import Face, Identity
from ..rewards.identity import IdentityScore, identity_consistency_loss
from ..rewards.semantic import SemanticReward, semantic_consistency_loss
from .preservation import preservation_loss
from .settings import TrainingSettings

NO_FACE = float("nan")


@dataclass(frozen=True)
class Objective:
    """What videos are rewarded for.

    text_features: [prompts, D], the semantic reward's features of every prompt; None without that reward.
    """

    identity: Identity
    semantic_reward: SemanticReward | None
    text_features: Tensor | None
    settings: TrainingSettings

    @property
    def scores_meaning(self) -> bool:
        """Whether the semantic reward takes part."""
        return self.semantic_reward is not None and self.settings.semantic_weight > 0

    def icr(self, student: Tensor, heads: list[Face | None], generator: torch.Generator) -> IdentityScore | None:
        """Eq. 2 on the first frames of ``student`` [N, 3, H, W] (0..1) whose head is known; None if no head is.

        ``heads`` are the teacher's where it shows one: late steps must not move the head, and a reward that followed
        a wandering head would let the motion shrink.
        """
        settings = self.settings
        usable = [index for index, head in enumerate(heads) if head is not None][: settings.identity_frames]
        if not usable:
            return None
        faces = [heads[index] for index in usable]
        return identity_consistency_loss(
            student[usable], faces, self.identity, settings.augmentation, generator, settings.identity_cap
        )

    def scr(self, student: Tensor, teacher_scores: Tensor | None, prompt: int, through: Callable | None = None) -> Tensor:
        """Eqs. 3 and 4 on the first M of the frames; 0 without a semantic reward.

        teacher_scores: [N], those of the original model's same frames. through: recomputes the scorer's activations
        in backward, as ``recomputed(function, frame)`` does, one frame at a time.
        """
        if not self.scores_meaning:
            return student.new_zeros(())
        count, reward, text = self.settings.num_frames, self.semantic_reward, self.text_features[prompt]
        frames = student[:count]
        if through is None:
            scores = reward.score(frames, text)
        else:
            scores = torch.cat([through(lambda frame: reward.score(frame, text), frame) for frame in frames.split(1)])
        return semantic_consistency_loss(scores, teacher_scores[:count], reward.logit_scale)

    def preservation(self, student: Tensor, teacher: Tensor, heads: list[Face | None]) -> Tensor:
        """L1 to the teacher's frames outside the heads; 0 where the settings give it no weight."""
        return preservation_loss(student, teacher, heads) if self.settings.preserve_weight else student.new_zeros(())

    def total(self, icr: Tensor, scr: Tensor, preservation: Tensor) -> Tensor:
        """L_train of Eq. 5, with the user's weights and the preservation term."""
        settings = self.settings
        return settings.identity_weight * icr + settings.semantic_weight * scr + settings.preserve_weight * preservation
