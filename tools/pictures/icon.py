"""Draws docs/icon.png, the pack's icon in the registry: a face in a frame of film.

.venv/bin/python -m tools.pictures.icon
"""

from pathlib import Path

from PIL import Image, ImageDraw

from devkit.comfy_host import ROOT

ICON = ROOT / "docs" / "icon.png"
SIDE = 400  # pixels, the most that the registry takes
OVERSAMPLING = 4  # Pillow draws without antialiasing
FILM, SCREEN, FACE, HAIR, INK = "#1f2328", "#0072b2", "#f3c9a5", "#4a2c1a", "#1f2328"


class Icon:
    """A drawing in pixels of the finished icon."""

    def __init__(self):
        self._image = Image.new("RGBA", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float, colour: str) -> None:
        self._draw.rounded_rectangle(_scaled(x0, y0, x1, y1), radius * OVERSAMPLING, colour)

    def disc(self, x: float, y: float, half_width: float, half_height: float, colour: str) -> None:
        self._draw.ellipse(_scaled(x - half_width, y - half_height, x + half_width, y + half_height), colour)

    def arc(self, x: float, y: float, radius: float, start: float, end: float, width: float, colour: str) -> None:
        """Draw an arc from one angle to the other, in degrees clockwise from three o'clock."""
        bounds = _scaled(x - radius, y - radius, x + radius, y + radius)
        self._draw.arc(bounds, start, end, colour, round(width * OVERSAMPLING))

    def save(self, path: Path) -> None:
        small = self._image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        unfinished = path.with_suffix(".tmp")
        small.quantize(128, method=Image.Quantize.FASTOCTREE).save(unfinished, "png", optimize=True)
        unfinished.replace(path)


def _scaled(*values: float) -> tuple[float, ...]:
    return tuple(value * OVERSAMPLING for value in values)


def draw() -> Icon:
    icon = Icon()
    icon.box(8, 8, 392, 392, 48, FILM)
    for y in range(36, 364, 68):
        for x in (26, 338):
            icon.box(x, y, x + 36, y + 40, 8, "#ffffff")
    icon.box(84, 36, 316, 364, 20, SCREEN)
    icon.disc(200, 176, 96, 100, HAIR)
    icon.box(104, 176, 296, 300, 24, HAIR)
    icon.box(172, 250, 228, 364, 20, "#dba983")
    icon.box(112, 312, 288, 364, 20, "#e69f00")
    icon.disc(200, 204, 74, 92, FACE)
    icon.box(124, 104, 276, 162, 20, HAIR)
    for x in (170, 230):
        icon.disc(x, 200, 9, 11, INK)
        icon.arc(x, 194, 22, 225, 315, 6, HAIR)
    icon.arc(200, 228, 34, 35, 145, 7, "#b5523b")
    return icon


if __name__ == "__main__":
    draw().save(ICON)
