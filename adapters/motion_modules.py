"""The networks of AnimateDiff: temporal transformers that follow the spatial layers of a UNet.

The parameters have the names of the published checkpoints, except for the
positional table, of which a module keeps one instead of a copy per attention.
"""

import math

import torch
from comfy.ldm.modules.attention import FeedForward, optimized_attention
from torch import Tensor, nn

HEADS = 8
GROUPS = 32


class TemporalAttention(nn.Module):
    """Self-attention over the frames of one place in the picture."""

    def __init__(self, channels: int, ops, **placement):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (ops.Linear(channels, channels, bias=False, **placement) for _ in range(3))
        self.to_out = nn.ModuleList([ops.Linear(channels, channels, **placement)])

    def forward(self, x: Tensor, options: dict) -> Tensor:
        """x: [places, frames, channels]."""
        attended = optimized_attention(self.to_q(x), self.to_k(x), self.to_v(x), HEADS, transformer_options=options)
        return self.to_out[0](attended)


class TemporalBlock(nn.Module):
    """Two attentions over time and a feed-forward network, each with a residual."""

    positions: Tensor

    def __init__(self, channels: int, max_frames: int, ops, **placement):
        super().__init__()
        self.attention_blocks = nn.ModuleList([TemporalAttention(channels, ops, **placement) for _ in range(2)])
        self.norms = nn.ModuleList([ops.LayerNorm(channels, **placement) for _ in range(2)])
        self.ff = FeedForward(channels, glu=True, operations=ops, **placement)
        self.ff_norm = ops.LayerNorm(channels, **placement)
        self.register_buffer("positions", sinusoids(max_frames, channels))

    def forward(self, x: Tensor, options: dict) -> Tensor:
        positions = self.positions[:, : x.shape[1]].to(x)
        for attention, norm in zip(self.attention_blocks, self.norms):
            x = x + attention(norm(x) + positions, options)
        return x + self.ff(self.ff_norm(x))


class MotionModule(nn.Module):
    """One temporal transformer; the frames of a clip lie next to each other in the batch.

    Its first norm takes the statistics over all frames of the clip, as diffusers
    does. (The first release of AnimateDiff took them frame by frame.)
    """

    def __init__(self, channels: int, max_frames: int, ops, **placement):
        super().__init__()
        self.channels = channels
        self.max_frames = max_frames
        self.norm = ops.GroupNorm(GROUPS, channels, eps=1e-6, **placement)
        self.proj_in = ops.Linear(channels, channels, **placement)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, max_frames, ops, **placement)])
        self.proj_out = ops.Linear(channels, channels, **placement)

    def forward(self, x: Tensor, frames: int, options: dict) -> Tensor:
        """x: [clips * frames, channels, height, width]; ``frames`` at most ``max_frames``."""
        clips = x.unflatten(0, (-1, frames)).transpose(1, 2)
        count, channels, _, height, width = clips.shape
        places = self.norm(clips).permute(0, 3, 4, 2, 1).reshape(-1, frames, channels)
        places = self.proj_in(places)
        for block in self.transformer_blocks:
            places = block(places, options)
        motion = self.proj_out(places).view(count, height, width, frames, channels)
        return x + motion.permute(0, 3, 4, 1, 2).reshape(x.shape)


class MotionModules(nn.Module):
    """All motion modules of one checkpoint, in the order of the UNet's blocks that they follow.

    down, middle, up: the number of channels of each module.
    ops, placement: the host's operations, and the dtype and device of the weights.
    """

    def __init__(self, down: list[int], middle: list[int], up: list[int], max_frames: int, ops, **placement):
        super().__init__()
        self.max_frames = max_frames
        self.down, self.middle, self.up = (
            nn.ModuleList([MotionModule(channels, max_frames, ops, **placement) for channels in part])
            for part in (down, middle, up)
        )


def sinusoids(length: int, channels: int) -> Tensor:
    """The positional table of AnimateDiff: [1, length, channels], sines and cosines alternating."""
    frequencies = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    angles = torch.arange(length).unsqueeze(1) * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).unsqueeze(0)
