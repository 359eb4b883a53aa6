"""The outcome of a training run in two pictures of one height: a clip before and after, and the rewards over the steps."""

import math
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from ..drawing.canvas import GREY, Canvas
from ..drawing.charts import LABEL, line_chart
from ..drawing.frames import fitted, to_picture

WIDTH = 512
"""The size of the pictures in pixels, at which their texts are readable at the width of a node."""

_CAPTION, _GAP, _LOWEST, _TALLEST = 26, 6, 256, 512
_MOST_FRAMES = 64


def comparison_frames(before: Tensor, after: Tensor, captions: tuple[str, str]) -> tuple[list[Image.Image], int]:
    """The frames of two clips [F, 3, H, W] in 0..1 side by side, each clip under its caption.

    The second result says how many frames of the clips each picture stands for, which is 1 unless they are long.
    """
    every = math.ceil(len(before) / _MOST_FRAMES)
    left, right = _tiles(before[::every]), _tiles(after[::every])
    height = max(_LOWEST, _CAPTION + left[0].height)
    canvas = Canvas(WIDTH, height)
    for column, caption in enumerate(captions):
        canvas.text(_column(column) + _half() / 2, 5, caption, LABEL, GREY, "ma")
    page, frames = canvas.image(), []
    for pair in zip(left, right):
        frame = page.copy()
        for column, tile in enumerate(pair):
            space = _half() - tile.width, height - _CAPTION - tile.height
            frame.paste(tile, (_column(column) + space[0] // 2, _CAPTION + space[1] // 2))
        frames.append(frame)
    return frames, every


def training_plot(similarity: Sequence[float], semantic: Sequence[float] | None, height: int) -> Image.Image:
    """The identity and semantic rewards over the steps, faintly as they are and strongly as moving averages.

    similarity: to the photos, one value for each training step, nan if no face was found. semantic: L_SCR, likewise, or
    None if it was not rewarded. height: in pixels.
    """
    size = (WIDTH if semantic is None else _half(), height)
    charts = [line_chart("Identity", "similarity to the photos", "training step", {"": similarity}, size)]
    if semantic is not None:
        rewards = [-loss for loss in semantic]
        charts.append(line_chart("Meaning", "0: as the original's", "training step", {"": rewards}, size))
    plot = Image.new("RGB", (WIDTH, height), "white")
    for column, chart in enumerate(charts):
        plot.paste(chart, (_column(column), 0))
    return plot


def _half() -> int:
    return (WIDTH - _GAP) // 2


def _column(index: int) -> int:
    return index * (_half() + _GAP)


def _tiles(clip: Tensor) -> list[Image.Image]:
    """The frames of ``clip`` as pictures that fit into half of the whole."""
    return [fitted(to_picture(frame), _half(), _TALLEST) for frame in clip]
