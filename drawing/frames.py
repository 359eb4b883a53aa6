"""The frames of clips as pictures."""

import math

from PIL import Image
from torch import Tensor

HARD_EDGES = 2
"""From this enlargement on, each pixel is shown as a square."""


def to_picture(frame: Tensor) -> Image.Image:
    """The picture of a frame [3, H, W] in 0..1, pixel by pixel."""
    pixels = (frame.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels)


def fitted(picture: Image.Image, width: float, height: float) -> Image.Image:
    """The picture in its own proportions, as large as fits into ``width`` x ``height`` pixels.

    A great enlargement keeps hard edges, so that a small model's frames look as coarse as they are; everything else is
    resampled smoothly.
    """
    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    if scale < HARD_EDGES:
        return picture.resize(size, Image.Resampling.LANCZOS)
    whole = math.ceil(scale)  # pixels become equal squares first, which are then reduced a little
    squares = picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    return squares.resize(size, Image.Resampling.BOX)
