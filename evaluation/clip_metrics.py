"""CLIP's opinion of a video: is it steady, does it show what the prompt says, does it look like the reference photos?

The figures depend on the CLIP model, so its name belongs beside them. Those in the literature are OpenAI's ViT-B/32's
(CLIP-T, CLIP-I, Tune-A-Video's frame consistency) or ViT-L/14's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rewards.semantic import SemanticReward
from .frames import tidy

FRAMES_AT_ONCE = 8


@torch.no_grad()
def image_features(reward: SemanticReward, frames: Tensor, after_part: Callable[[], None] = lambda: None) -> Tensor:
    """The features [F, D] of frames [F, 3, H, W] in 0..1, each of length 1, on the CPU."""
    device = next(reward.networks.parameters()).device
    features = []
    for part in frames.split(FRAMES_AT_ONCE):
        features.append(reward.encode_image(tidy(part, device)).float().cpu())
        after_part()
    return F.normalize(torch.cat(features), dim=-1)


def temporal_consistency(features: Tensor) -> float | None:
    """T. Cons., the mean cosine of the features [F, D] of neighbouring frames, in -1..1; None for a single frame.

    It is that of Wu et al., "Tune-A-Video" (2023), without the factor of 100.
    """
    if len(features) < 2:
        return None
    return F.cosine_similarity(features[:-1], features[1:], dim=-1).mean().item()


def clip_t(features: Tensor, text: Tensor) -> float:
    """CLIP-T, 100 times the mean cosine between the features [F, D] of the frames and those of the prompt, [D].

    It is the score of Hessel et al., "CLIPScore" (2021), without the factor of 2.5 and the cut at 0.
    """
    return 100 * F.cosine_similarity(features, text.to(features)[None], dim=-1).mean().item()


def clip_i(features: Tensor, references: Tensor) -> float:
    """CLIP-I of Ruiz et al., "DreamBooth" (2023).

    It is 100 times the mean cosine of the features of every frame, [F, D], and of every reference picture, [R, D].
    """
    return 100 * (F.normalize(features, dim=-1) @ F.normalize(references.to(features), dim=-1).T).mean().item()
