"""What CLIP says of a video: is it steady, does it show the prompt, does it look like the reference photos.

The figures depend on the CLIP model; say its name with them. Those of the literature are of OpenAI's ViT-B/32
(CLIP-T, CLIP-I, Tune-A-Video's frame consistency) or ViT-L/14.
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
    """Unit features [F, D] of frames [F, 3, H, W], on the CPU."""
    device = next(reward.networks.parameters()).device
    features = []
    for part in frames.split(FRAMES_AT_ONCE):
        features.append(reward.encode_image(tidy(part, device)).float().cpu())
        after_part()
    return F.normalize(torch.cat(features), dim=-1)


def temporal_consistency(features: Tensor) -> float | None:
    """T. Cons.: mean cosine of neighbouring frames' features [F, D], as in Wu et al., "Tune-A-Video" (2023), without
    its factor of 100; -1..1. None for a single frame."""
    if len(features) < 2:
        return None
    return F.cosine_similarity(features[:-1], features[1:], dim=-1).mean().item()


def clip_t(features: Tensor, text: Tensor) -> float:
    """CLIP-T: 100 x mean cosine of the frames' features [F, D] and the prompt's [D], as in Hessel et al., "CLIPScore"
    (2021), without its factor of 2.5 and its cut at 0."""
    return 100 * F.cosine_similarity(features, text.to(features)[None], dim=-1).mean().item()


def clip_i(features: Tensor, references: Tensor) -> float:
    """CLIP-I: 100 x mean cosine of every frame's features [F, D] with every reference picture's [R, D], as in Ruiz et
    al., "DreamBooth" (2023)."""
    return 100 * (F.normalize(features, dim=-1) @ F.normalize(references.to(features), dim=-1).T).mean().item()
