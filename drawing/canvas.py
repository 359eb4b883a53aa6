"""A white canvas with crisp text and smooth lines, in the few colours that all our pictures share."""

import re

from PIL import Image, ImageDraw

from .fonts import font_for

WHITE, INK, GREY, RULE = "#ffffff", "#1f2328", "#6b7280", "#e3e6ea"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's, safe for the colour-blind

_OVERSAMPLING = 2  # Pillow draws lines without antialiasing
_WIDE = "\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
"""The characters of Chinese, Japanese and Korean."""
_CLOSING = "\u3001\u3002\u3009\u300b\u300d\u300f\u3011\uff01\uff09\uff0c\uff1a\uff1b\uff1f"
"""The punctuation among them that no line may begin with."""
_PIECES = re.compile(rf"\s*(?:[{_WIDE}][{_CLOSING}]*|[^\s{_WIDE}]+[{_CLOSING}]*)")
"""Matches what stays together on a line: a word, or one wide character."""


class Canvas:
    """A picture to draw into, in pixels of the finished picture, which ``image()`` returns."""

    def __init__(self, width: float, height: float):
        self._image = Image.new("RGB", (round(width) * _OVERSAMPLING, round(height) * _OVERSAMPLING), WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, text: str, size: float, colour: str = INK, anchor: str = "la") -> None:
        """Write ``text`` at (x, y) with a white rim; ``anchor`` is Pillow's, by default left and top."""
        font, text = font_for(text, size * _OVERSAMPLING)
        at, rim = (x * _OVERSAMPLING, y * _OVERSAMPLING), 2 * _OVERSAMPLING
        self._draw.text(at, text, colour, font, anchor=anchor, stroke_width=rim, stroke_fill=WHITE)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        edges = [round(edge * _OVERSAMPLING) for edge in (x0, y0, x1, y1)]
        self._draw.rectangle((edges[0], edges[1], max(edges[0], edges[2] - 1), max(edges[1], edges[3] - 1)), colour)

    def line(self, points: list[tuple[float, float]], colour: str, width: float = 1) -> None:
        scaled = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points]
        self._draw.line(scaled, colour, round(width * _OVERSAMPLING), joint="curve")

    def image(self) -> Image.Image:
        return self._image.reduce(_OVERSAMPLING)


def text_width(text: str, size: float) -> float:
    """The width of one line of text in pixels."""
    font, text = font_for(text, size * _OVERSAMPLING)
    return font.getlength(text) / _OVERSAMPLING


def wrap(text: str, size: float, width: float, most: int) -> list[str]:
    """``text`` broken into at most ``most`` lines of ``width`` pixels; if it does not fit, it ends in dots."""
    lines = [""]
    for piece in _PIECES.findall(" ".join(text.split())):
        if not lines[-1] or text_width(lines[-1] + piece, size) <= width:
            lines[-1] += piece
        else:
            lines.append(piece.lstrip())
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1] + "..."]
    return [_clip(line, size, width) for line in lines]


def _clip(line: str, size: float, width: float) -> str:
    while text_width(line, size) > width and len(line) > 4:
        line = line.removesuffix("...")[:-1].rstrip() + "..."
    return line
