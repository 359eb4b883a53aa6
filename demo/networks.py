"""The per-frame VAE and the text encoder; the video network is the host's WanModel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .captions import MAX_WORDS, VOCABULARY

LATENT_CHANNELS = 8
LATENT_SCALE = 8  # the side of a latent cell in pixels
TEXT_DIM = 128


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class FrameVAE(nn.Module):
    """Encodes each frame by itself to a latent of 1/8 its size with 8 channels, normalised to mean 0 and deviation 1.

    Noise on the latents regularises it in training, so an encoding is a point and not a distribution.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)):
        super().__init__()
        low, middle, high = widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, low, 3, padding=1),
            Residual(low),
            nn.Conv2d(low, middle, 3, stride=2, padding=1),
            Residual(middle),
            nn.Conv2d(middle, high, 3, stride=2, padding=1),
            Residual(high),
            Residual(high),
            nn.SiLU(),
            nn.Conv2d(high, LATENT_CHANNELS, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, high, 3, padding=1),
            Residual(high),
            Residual(high),
            Residual(high),
            nn.Conv2d(high, middle * 4, 1),
            nn.PixelShuffle(2),
            Residual(middle),
            Residual(middle),
            nn.Conv2d(middle, low * 4, 1),
            nn.PixelShuffle(2),
            Residual(low),
            Residual(low),
            nn.SiLU(),
            nn.Conv2d(low, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("deviation", torch.ones(LATENT_CHANNELS))

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return self.mean.view(1, -1, 1, 1, 1), self.deviation.view(1, -1, 1, 1, 1)

    def encode(self, video: Tensor) -> Tensor:
        """The normalised latents [B, 8, T, H/8, W/8] of ``video`` [B, 3, T, H, W] in -1..1."""
        frames = video.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        latents = self.encoder(frames).unflatten(0, (-1, video.shape[2])).transpose(1, 2)
        mean, deviation = self._statistics()
        return (latents - mean) / deviation

    def decode(self, latents: Tensor) -> Tensor:
        """The video [B, 3, T, 8h, 8w], about in -1..1 but not clamped, of normalised ``latents`` [B, 8, T, h, w]."""
        mean, deviation = self._statistics()
        cells = (latents * deviation + mean).transpose(1, 2).flatten(0, 1)
        frames = self.decoder(cells.contiguous(memory_format=torch.channels_last))
        return frames.unflatten(0, (-1, latents.shape[2])).transpose(1, 2)


class TextEncoder(nn.Module):
    """Turns word numbers [B, 20] into word vectors [B, 20, 128], which are zero where there is no word."""

    def __init__(self, dim: int = TEXT_DIM):
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), dim)
        self.places = nn.Parameter(torch.randn(MAX_WORDS, dim) * 0.1)
        self.layer = nn.TransformerEncoderLayer(dim, 4, dim * 2, 0.0, batch_first=True, norm_first=True, activation="gelu")
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        there = (tokens > 0).float()[..., None]
        return self.layer(self.words(tokens) + self.places) * there
