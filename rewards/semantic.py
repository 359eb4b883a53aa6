"""Semantic Consistency Reward (Eqs. 3 and 4)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


class SemanticReward(ABC):
    """An image-text scorer R_sem (PV_SEMANTIC_REWARD).

    networks: what ``encode_image`` needs, in memory while training. text_networks: what
    ``encode_text`` needs, once before it. The caller moves both.

    logit_scale: factor on the cosine before the softmax of Eq. 3. Raw cosines of
    a clip's frames differ by a few hundredths, a softmax over them is flat and
    its divergence vanishes; contrastive models are trained with a scale of 10 to 100.
    """

    name: str
    logit_scale: float
    networks: nn.Module

    @property
    def text_networks(self) -> nn.Module:
        return self.networks

    @abstractmethod
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Unit text features [N, D], on the device of ``text_networks``. No gradient."""

    @abstractmethod
    def encode_image(self, frames: Tensor) -> Tensor:
        """Unit image features [N, D] of frames [N, 3, H, W] in 0..1. Differentiable."""

    def score(self, frames: Tensor, text: Tensor) -> Tensor:
        """Cosine [N] of each frame [N, 3, H, W] with its text feature [N, D] or [D]."""
        return (self.encode_image(frames) * text.to(frames.device)).sum(dim=-1)


@dataclass(frozen=True)
class PromptScorer:
    """A semantic reward that knows the text features [prompts, D] of a run's prompts."""

    reward: SemanticReward
    text_features: Tensor

    @property
    def logit_scale(self) -> float:
        """The reward's."""
        return self.reward.logit_scale

    def score(self, frames: Tensor, prompt: int) -> Tensor:
        """R_sem of Eq. 3, [N], of frames [N, 3, H, W] in 0..1 with the prompt of that number. Differentiable."""
        return self.reward.score(frames, self.text_features[prompt])


def semantic_consistency_loss(student_scores: Tensor, teacher_scores: Tensor, logit_scale: float) -> Tensor:
    """L_SCR of Eqs. 3 and 4: KL(V^T || V^S) of the softmaxes over the M sampled frames.

    student_scores, teacher_scores: [M] cosines of the same frames of the target and
    of the original model; gradient flows through the student's.
    """
    student = F.log_softmax(logit_scale * student_scores, dim=-1)
    teacher = F.log_softmax(logit_scale * teacher_scores, dim=-1)
    return (student.exp() * (student - teacher)).sum(dim=-1)
