"""The demo's image-text scorer as a semantic reward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rewards.semantic import SemanticReward
from .captions import tokenise
from .scenes import SIZE


class DemoSemanticReward(SemanticReward):
    """Scores how well a frame shows the scene and the shirt that a prompt names."""

    name = "demo"

    def __init__(self, scorer: nn.Module, logit_scale: float):
        self.networks = scorer.eval().requires_grad_(False)
        self.logit_scale = logit_scale

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        device = next(self.networks.parameters()).device
        return self.networks.text(tokenise(prompts).to(device))

    def encode_image(self, frames: Tensor) -> Tensor:
        if tuple(frames.shape[-2:]) != (SIZE, SIZE):
            frames = F.interpolate(frames, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        return self.networks.image(frames)
