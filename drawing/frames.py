"""Frames of clips as pictures."""

import math

from PIL import Image
from torch import Tensor

HARD_EDGES = 2
"""The enlargement from which on each pixel is shown as the square it is."""


def to_picture(frame: Tensor) -> Image.Image:
    """A frame [3, H, W] in 0..1, each of its pixels."""
    pixels = (frame.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels)


def fitted(picture: Image.Image, width: float, height: float) -> Image.Image:
    """The picture as large as fits into ``width`` x ``height`` pixels, of its own proportions.

    What is enlarged much keeps hard edges, so that a small model's frames look as coarse as they are; anything else
    is resampled smoothly.
    """
    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    if scale < HARD_EDGES:
        return picture.resize(size, Image.Resampling.LANCZOS)
    whole = math.ceil(scale)  # first squares of equal size, then the little that they are too large
    squares = picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    return squares.resize(size, Image.Resampling.BOX)
