"""Differentiable augmentation of face crops (paper section 4.1).

``paper`` is the colour jitter that the paper names. ``robust`` adds flips, small
affine moves, blur and noise, without which a recognizer is fooled by invisible
patterns instead of being shown the person.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

AUGMENTATIONS = ("robust", "paper", "none")
BLUR_DIVISOR = 40  # 1 pixel each way for a crop of 40 pixels, 2 for one of 112


def augment(crops: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """crops [N, 3, S, S] in 0..1 -> same shape, differentiable.

    generator: CPU generator, so that a seed gives the same draw on every device.
    Raises ValueError for an unknown kind.
    """
    if kind not in AUGMENTATIONS:
        raise ValueError(f"augmentation: {kind} is unknown; choose one of {', '.join(AUGMENTATIONS)}.")
    if kind == "none":
        return crops
    if kind == "robust":
        crops = _move(crops, generator)
        crops = _blur(crops, generator)
    crops = _colour_jitter(crops, generator)
    if kind == "robust":
        crops = crops + 0.03 * torch.randn(crops.shape, generator=generator).to(crops)
    return crops


def _uniform(crops: Tensor, channels: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    draw = torch.rand(len(crops), channels, 1, 1, generator=generator).to(crops)
    return low + (high - low) * draw


def _colour_jitter(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and colour balance, each by up to about 10 percent."""
    gain = _uniform(crops, 3, 0.92, 1.08, generator)
    offset = _uniform(crops, 1, -0.03, 0.03, generator)
    contrast = _uniform(crops, 1, 0.9, 1.1, generator)
    mean = crops.mean(dim=(1, 2, 3), keepdim=True)
    return (crops - mean) * contrast * gain + mean + offset


def _move(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the crops; scale by up to 8 percent, shift by up to 4 percent, turn by up to 4 degrees."""
    count = len(crops)
    mirror = _uniform(crops, 1, -1, 1, generator).sign().view(count)
    scale = _uniform(crops, 1, 0.92, 1.08, generator).view(count)
    angle = _uniform(crops, 1, -0.07, 0.07, generator).view(count)
    shift = _uniform(crops, 2, -0.08, 0.08, generator).view(count, 2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([mirror * cos, -sin, shift[:, 0], mirror * sin, cos, shift[:, 1]], dim=1).view(count, 2, 3)
    grid = F.affine_grid(theta, list(crops.shape), align_corners=False)
    return F.grid_sample(crops, grid, padding_mode="border", align_corners=False)


def _blur(crops: Tensor, generator: torch.Generator) -> Tensor:
    """A box blur that reaches a fortieth of the crop's side each way, mixed in fully on a third of the crops."""
    reach = max(1, crops.shape[-1] // BLUR_DIVISOR)
    padded = F.pad(crops, (reach, reach, reach, reach), mode="replicate")
    blurred = F.avg_pool2d(padded, 2 * reach + 1, stride=1)
    chosen = (_uniform(crops, 1, 0, 1, generator) < 0.35).to(crops)
    return torch.lerp(crops, blurred, chosen)
