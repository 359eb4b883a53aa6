"""Which frames of a clip a metric looks at, and how it gets them."""

import torch
from PIL import Image
from torch import Tensor

SMALLEST_SIDE = 32  # pixels


def evenly_spaced(total: int, count: int) -> list[int]:
    """``count`` of the frames 0 .. total - 1, the first and the last among them, places rounded down; short clips
    repeat frames. The same as NumPy's ``linspace(0, total - 1, count, dtype=int)``."""
    if count == 1:
        return [0]
    return [place * (total - 1) // (count - 1) for place in range(count)]


def every_nth(total: int, fps: float, wanted: float) -> list[int]:
    """About ``wanted`` frames a second: each n-th from the first, n = round(fps / wanted), at least 1."""
    return list(range(0, total, max(1, round(fps / wanted))))


def frames_of(images: Tensor) -> Tensor:
    """The host's IMAGE [F, H, W, C] as frames [F, 3, H, W] without alpha; a view, values as they are.

    ValueError: no frame, sides of less than SMALLEST_SIDE pixels, or values that are no numbers.
    """
    if images.ndim != 4 or not images.numel():
        raise ValueError("images: there is no frame in it; connect the frames of a video.")
    height, width = images.shape[1:3]
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"images: frames of {width} x {height} pixels show no face; use frames of {SMALLEST_SIDE} or more a side."
        )
    broken = next((number for number, frame in enumerate(images, 1) if not frame.isfinite().all()), None)
    if broken:
        raise ValueError(
            f"images: frame {broken} of {len(images)} holds values that are no numbers, so that the video cannot be judged; "
            "sample it again in another precision, or with lower strengths."
        )
    frames = images[..., :3] if images.shape[-1] >= 3 else images[..., :1]
    return frames.movedim(-1, 1).expand(-1, 3, -1, -1)


def tidy(frames: Tensor, device: torch.device | str) -> Tensor:
    """On the device as float32 in 0..1, what is no number black."""
    return frames.to(device, torch.float32).nan_to_num(0, 1, 0).clamp(0, 1)


def to_picture(frame: Tensor) -> Image.Image:
    """A frame [3, H, W] in 0..1, each of its pixels."""
    pixels = (frame.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels)
