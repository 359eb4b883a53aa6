"""Pictures of many frames, for people to look at."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

SHEETS = Path(__file__).parent.parent / "sheets"


def save_sheet(rows: Tensor, name: str, zoom: int = 2) -> None:
    """Save frames [R, C, 3, H, W] in 0..1 as ``demo/sheets/<name>.png``, in R rows, C columns and 256 colours."""
    r, c, _, h, w = rows.shape
    pixels = rows.detach().float().clamp(0, 1).permute(0, 3, 1, 4, 2).reshape(r * h, c * w, 3)
    image = Image.fromarray((pixels * 255).round().to(torch.uint8).numpy())
    image = image.resize((image.width * zoom, image.height * zoom), Image.LANCZOS)
    SHEETS.mkdir(exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(SHEETS / f"{name}.png", optimize=True)
