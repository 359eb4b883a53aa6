"""The losses of a training step on decoded frames: Eq. 2, Eqs. 3 and 4, preservation, and their weighted sum, Eq. 5."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..rewards.faces import Face, Identity
from ..rewards.identity import IdentityScore, identity_consistency_loss
from ..rewards.semantic import PromptScorer, semantic_consistency_loss
from .preservation import preservation_loss
from .settings import TrainingSettings

NO_FACE = float("nan")


@dataclass(frozen=True)
class Objective:
    """What videos are rewarded for. ``scorer`` is that of the semantic reward, or None without one."""

    identity: Identity
    scorer: PromptScorer | None
    settings: TrainingSettings

    @property
    def scores_meaning(self) -> bool:
        """Whether the semantic reward takes part."""
        return self.scorer is not None and self.settings.semantic_weight > 0

    def icr(self, student: Tensor, heads: list[Face | None], generator: torch.Generator) -> IdentityScore | None:
        """Eq. 2 on the first frames of ``student`` [N, 3, H, W] (0..1) whose head is known, or None if none is.

        The ``heads`` should be the teacher's wherever it shows one: the late steps must not move the head, and a reward
        that followed a wandering head would let the motion shrink.
        """
        settings = self.settings
        known = [(index, head) for index, head in enumerate(heads) if head is not None][: settings.identity_frames]
        if not known:
            return None
        frames, faces = student[[index for index, _ in known]], [head for _, head in known]
        return identity_consistency_loss(frames, faces, self.identity, settings.augmentation, generator, settings.identity_cap)

    def scr(self, student: Tensor, teacher_scores: Tensor | None, prompt: int, through: Callable | None = None) -> Tensor:
        """Eqs. 3 and 4 on the first M frames of ``student`` [N, 3, H, W]; 0 without a semantic reward.

        teacher_scores: [N], the scores of the same frames of the original model. through(function, frame): if given, it
        scores one frame at a time and recomputes the scorer's activations in backward, as ``recomputed`` does.
        """
        scorer, count = self.scorer, self.settings.num_frames
        if scorer is None or teacher_scores is None or not self.settings.semantic_weight:
            return student.new_zeros(())
        frames = student[:count]
        if through is None:
            scores = scorer.score(frames, prompt)
        else:
            scores = torch.cat([through(partial(scorer.score, prompt=prompt), frame) for frame in frames.split(1)])
        return semantic_consistency_loss(scores, teacher_scores[:count], scorer.logit_scale)

    def preservation(self, student: Tensor, teacher: Tensor, heads: list[Face | None]) -> Tensor:
        """The L1 distance to the teacher's frames outside the heads; 0 if the settings give it no weight."""
        return preservation_loss(student, teacher, heads) if self.settings.preserve_weight else student.new_zeros(())

    def total(self, icr: Tensor, scr: Tensor, preservation: Tensor) -> Tensor:
        """L_train of Eq. 5 with the user's weights, and with the preservation term added."""
        settings = self.settings
        return settings.identity_weight * icr + settings.semantic_weight * scr + settings.preserve_weight * preservation
