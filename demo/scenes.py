"""The five backgrounds of the demo world, drawn once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIZE = 64  # the height and width of a frame in pixels
PIXEL = 2.2 / SIZE  # the width of a soft edge in frame coordinates (-1..1)

_AXIS = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
Y, X = torch.meshgrid(_AXIS, _AXIS, indexing="ij")


def edge(distance: Tensor, pixel=PIXEL) -> Tensor:
    """How much of each pixel a shape covers, in 0..1, from its signed distance, which is positive inside."""
    return (distance / pixel + 0.5).clamp(0, 1)


def _gradient(top, bottom) -> Tensor:
    top, bottom = (torch.tensor(colour).view(3, 1, 1) for colour in (top, bottom))
    return top + (bottom - top) * (Y + 1) / 2


def _over(image: Tensor, mask: Tensor, colour) -> Tensor:
    return image.lerp(torch.tensor(colour).view(3, 1, 1).expand_as(image), mask.expand_as(image))


def _beach() -> Tensor:
    image = _gradient((0.40, 0.72, 0.98), (0.80, 0.93, 1.00))
    image = _over(image, edge(0.2 - torch.hypot(X + 0.68, Y + 0.68)), (1.0, 0.93, 0.35))
    image = _over(image, edge(Y - 0.05), (0.10, 0.45, 0.78))
    return _over(image, edge(Y - 0.42), (0.94, 0.84, 0.58))


def _forest() -> Tensor:
    image = _gradient((0.25, 0.52, 0.20), (0.12, 0.34, 0.12))
    trunks = (torch.cos((X + 0.1) * math.pi * 2.6) - 0.7) * 0.25
    image = _over(image, edge(trunks), (0.30, 0.19, 0.10))
    return _over(image, edge(Y - 0.5), (0.22, 0.45, 0.15))


def _city() -> Tensor:
    image = _gradient((0.04, 0.05, 0.20), (0.16, 0.12, 0.36))
    houses = edge(Y + 0.25 - 0.35 * torch.sin(torch.floor((X + 0.2) * 3.0) * 2.7 + 1.0))
    image = _over(image, houses, (0.10, 0.10, 0.15))
    windows = (torch.cos((X + 0.2) * 6 * math.pi) < -0.2) & (torch.cos(Y * 5 * math.pi) < 0)
    return _over(image, houses * windows * 0.9, (0.96, 0.80, 0.30))


def _snow() -> Tensor:
    image = _gradient((0.68, 0.79, 0.92), (0.86, 0.93, 1.00))
    image = _over(image, edge(Y - 0.15 - 0.2 * torch.sin(X * 1.7 + 1.0)), (0.98, 0.98, 1.00))
    flakes = (torch.cos(X * 14 + Y * 5) * torch.cos(Y * 13 - X * 4 + 1.0) - 0.8) * 0.25
    return _over(image, edge(flakes), (1.0, 1.0, 1.0))


def _room() -> Tensor:
    image = _gradient((0.84, 0.77, 0.66), (0.72, 0.63, 0.52))
    image = _over(image, edge(Y - 0.55), (0.45, 0.28, 0.16))
    picture = torch.maximum((X - 0.62).abs() - 0.28, (Y + 0.55).abs() - 0.26)
    image = _over(image, edge(-picture), (0.35, 0.20, 0.10))
    return _over(image, edge(-picture - 0.07), (0.45, 0.75, 0.70))


BACKGROUNDS = torch.stack([_beach(), _forest(), _city(), _snow(), _room()])  # [5, 3, 64, 64], 0..1
