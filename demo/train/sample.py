"""Sampling the exported video network without the host's sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from ..captions import tokenise
from ..networks import LATENT_CHANNELS
from ..weights import FOLDER, frame_vae, text_encoder, video_network
from ..world import FRAMES
from .fast import use_fast_layers
from .wan import build_wan, sample

HELD_OUT = FOLDER.parent / "held_out.txt"


class Sampler:
    """Samples clips with the exported video network, text encoder and VAE."""

    def __init__(self):
        self.wan = build_wan().requires_grad_(False)
        self.wan.load_state_dict(video_network())
        use_fast_layers(self.wan)
        self.text, self.vae = text_encoder(), frame_vae()

    @torch.no_grad()
    def __call__(self, captions: list[str], seed: int, cfg: float = 1.0) -> Tensor:
        """Clips [B, 8, 3, 64, 64] in 0..1, one for each of the captions."""
        noise = torch.randn(len(captions), LATENT_CHANNELS, FRAMES, 8, 8, generator=torch.Generator().manual_seed(seed))
        latents = sample(self.wan, noise, self.text(tokenise(captions)), self.text(tokenise([""])), cfg=cfg)
        return (self.vae.decode(latents).transpose(1, 2) / 2 + 0.5).clamp(0, 1)


def held_out_captions(subject: str = "person") -> list[str]:
    return [line.replace("V person", subject) for line in HELD_OUT.read_text().splitlines()]
