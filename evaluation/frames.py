"""The frames of a clip that a metric looks at, and the form in which it gets them."""

import torch
from torch import Tensor

SMALLEST_SIDE = 32  # pixels


def evenly_spaced(total: int, count: int) -> list[int]:
    """``count`` evenly spaced numbers out of 0 .. total - 1, the first and the last among them.

    Places are rounded down, and numbers repeat if there are too few: NumPy's ``linspace(0, total - 1, count, dtype=int)``.
    """
    if count == 1:
        return [0]
    return [place * (total - 1) // (count - 1) for place in range(count)]


def every_nth(total: int, fps: float, wanted: float) -> list[int]:
    """The numbers of about ``wanted`` frames a second: every n-th from the first, with n = round(fps / wanted) or 1."""
    return list(range(0, total, max(1, round(fps / wanted))))


def frames_of(images: Tensor) -> Tensor:
    """The host's IMAGE [F, H, W, C] as frames [F, 3, H, W] without alpha: a view, with unchanged values.

    Raises ValueError if there is no frame or a side has fewer than SMALLEST_SIDE pixels.
    """
    if images.ndim != 4 or not images.numel():
        raise ValueError("images: there is no frame in it; connect the frames of a video.")
    height, width = images.shape[1:3]
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"images: frames of {width} x {height} pixels show no face; use frames of {SMALLEST_SIDE} or more a side."
        )
    frames = images[..., :3] if images.shape[-1] >= 3 else images[..., :1]
    return frames.movedim(-1, 1).expand(-1, 3, -1, -1)


def tidy(frames: Tensor, device: torch.device | str) -> Tensor:
    """``frames`` on ``device`` as float32, clamped to 0..1, with 0 for nan."""
    return frames.to(device, torch.float32).nan_to_num(0, 1, 0).clamp(0, 1)
