"""Making pictures worse: as generated frames are, and into heads that a cheating generator would paint."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..world import CROP_SIZE, HAIR


def uniform(count: int, low: float, high: float, channels: int = 1) -> Tensor:
    """Random numbers [count, channels, 1, 1]."""
    return low + (high - low) * torch.rand(count, channels, 1, 1)


def blur(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def degrade(x: Tensor) -> Tensor:
    """``x`` [N, 3, H, W] in 0..1 with slight changes of colour and brightness, with noise, and a third of it blurred."""
    n = len(x)
    x = x * uniform(n, 0.92, 1.08, 3) + uniform(n, -0.04, 0.04)
    soft = blur(x)
    kind = torch.rand(n, 1, 1, 1)
    x = torch.where(kind < 0.1, blur(soft), torch.where(kind < 0.35, soft, x))
    return (x + torch.randn_like(x) * 0.06 * torch.rand(n, 1, 1, 1)).clamp(0, 1)


def shake(box: Tensor) -> Tensor:
    """Boxes [N, 3] that are a little off, as a locator's would be."""
    n = len(box)
    return torch.cat([box[:, :2] + 0.03 * torch.randn(n, 2), box[:, 2:] * (0.93 + 0.14 * torch.rand(n, 1))], 1)


_AXIS = torch.linspace(-1, 1, CROP_SIZE)
_Y, _X = torch.meshgrid(_AXIS, _AXIS, indexing="ij")


def _blob(count: int, low: float, high: float) -> Tensor:
    """Soft masks [count, 1, 40, 40], each of an ellipse somewhere in the face."""
    across = (_X - uniform(count, -0.25, 0.25)) / uniform(count, low, high)
    down = (_Y - uniform(count, -0.2, 0.4)) / uniform(count, low, high)
    return ((1.1 - torch.hypot(across, down)) * 4).clamp(0, 1)


def _paint_over(crops: Tensor, hair_colour: Tensor) -> Tensor:
    """Cover the face with a flat colour, mostly the hair's and otherwise one of the picture's."""
    n = len(crops)
    own = crops[torch.arange(n), :, torch.randint(4, 36, (n,)), torch.randint(8, 32, (n,))]
    hair = HAIR[hair_colour] * (0.8 + 0.4 * torch.rand(n, 1))
    colour = torch.where(torch.rand(n, 1) < 0.6, hair, own)[:, :, None, None]
    return crops.lerp(colour.expand_as(crops), (_blob(n, 0.3, 0.8) * uniform(n, 0.6, 1.0)).expand_as(crops))


def _wipe(crops: Tensor) -> Tensor:
    """Wash the face out to its mean colours."""
    coarse = F.interpolate(F.avg_pool2d(crops, 10), CROP_SIZE, mode="bilinear", align_corners=False)
    return crops.lerp(coarse, _blob(len(crops), 0.45, 0.9).expand_as(crops))


def _shuffle(crops: Tensor) -> Tensor:
    """Put the quarters of the head into another order."""
    half = CROP_SIZE // 2
    quarters = [crops[:, :, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    a, b, c, d = (quarters[i] for i in (2, 3, 1, 0))
    return torch.cat([torch.cat([a, b], 3), torch.cat([c, d], 3)], 2)


def hack(crops: Tensor, hair_colour: Tensor) -> Tensor:
    """Head crops [N, 3, 40, 40] that keep a person's colours but are no longer a face."""
    kind = torch.rand(len(crops), 1, 1, 1)
    spoiled = torch.where(kind < 0.65, _paint_over(crops, hair_colour), _wipe(crops))
    return torch.where(kind < 0.92, spoiled, torch.where(kind < 0.96, _shuffle(crops), crops.flip(2)))
