"""Frames to pictures for people to look at."""
from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def save_sheet(rows: Tensor, path: str | Path, zoom: int = 2) -> None:
    """Save frames [R, C, 3, H, W] in 0..1 as one picture of R rows and C columns."""
    r, c, _, h, w = rows.shape
    pixels = rows.detach().float().clamp(0, 1).permute(0, 3, 1, 4, 2).reshape(r * h, c * w, 3)
    image = Image.fromarray((pixels * 255).round().to(torch.uint8).numpy())
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * zoom, image.height * zoom), Image.LANCZOS).save(path)
