"""compare.png, which shows the photos of a person and below them the same clips without and with the identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.drawing.canvas import GREY, RULE, Canvas, text_width, wrap
from personalvideo_pack.drawing.frames import to_picture

_TITLE, _LABEL, _CAPTION, _LINE = 26, 18, 14, 20  # text sizes and line height in pixels
_MARGIN, _GAP, _CLIP_GAP, _SECTION_GAP = 32, 4, 24, 40
_CELL = 192  # the height of a frame on the sheet in pixels, three times the demo's


@dataclass(frozen=True)
class Comparison:
    """The part of the sheet that one person has.

    references: photos [3, H, W] in 0..1, of any sizes. captions: what the clips of each column show. rows: (label, clips),
    with one clip [F, 3, H, W] in 0..1 for each caption; the second line of a label is small.
    """

    name: str
    references: Sequence[Tensor]
    captions: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Tensor]]]


def compare_sheet(comparisons: Sequence[Comparison], out: str | Path | None = None, frames: int = 3) -> Image.Image:
    """Draw the sheet, with `frames` evenly spaced frames of each clip, and save it to `out`.

    Raises ValueError if a row does not have exactly one clip for each caption.
    """
    sections = [_Section(comparison, frames) for comparison in comparisons]
    width = max(section.width for section in sections)
    height = sum(section.height for section in sections) + _SECTION_GAP * (len(sections) - 1)
    canvas = Canvas(width + 2 * _MARGIN, height + 2 * _MARGIN)
    tiles: list[tuple[Image.Image, int, int]] = []
    y = _MARGIN
    for index, section in enumerate(sections):
        if index:
            rule = y - _SECTION_GAP / 2
            canvas.line([(_MARGIN, rule), (_MARGIN + width, rule)], RULE)
        tiles += section.draw(canvas, y)
        y += section.height + _SECTION_GAP
    sheet = canvas.image()
    for tile, left, top in tiles:
        sheet.paste(tile, (left, top))
    if out is not None:
        sheet.save(out)
    return sheet


class _Section:
    """Measures and draws a Comparison: its name, references, captions and rows."""

    def __init__(self, comparison: Comparison, frames: int):
        self._comparison = comparison
        self._references = [_tile(photo) for photo in comparison.references]
        self._rows = [(label.split("\n"), [_tiles(clip, frames) for clip in clips]) for label, clips in comparison.rows]
        for (label, *_), clips in self._rows:
            if len(clips) != len(comparison.captions):
                raise ValueError(f'row "{label}" has {len(clips)} clips for {len(comparison.captions)} captions.')
        labels = [("Photos",), *(label for label, _ in self._rows)]
        self._label_width = 20 + round(max(_label_width(label) for label in labels))
        self._clip_width = max((_strip_width(clip) for _, clips in self._rows for clip in clips), default=0)
        self._captions = [wrap(caption, _CAPTION, self._clip_width, most=3) for caption in comparison.captions]
        self._caption_height = _LINE * max(map(len, self._captions), default=0) + 8

        strips = len(self._captions) * (self._clip_width + _CLIP_GAP) - _CLIP_GAP
        self.width = self._label_width + max(strips, _strip_width(self._references))
        self._head = _TITLE + 16
        self.height = self._head + _CELL + 28 + self._caption_height + len(self._rows) * (_CELL + _GAP) - _GAP

    def draw(self, canvas: Canvas, y: int) -> list[tuple[Image.Image, int, int]]:
        """Write the texts from ``y`` down, and return the tiles with their places (left, top)."""
        canvas.text(_MARGIN, y, self._comparison.name, _TITLE)
        y += self._head
        _write_label(canvas, ["Photos"], y)
        left = _MARGIN + self._label_width
        tiles = _strip(self._references, left, y)
        y += _CELL + 28
        for column, lines in enumerate(self._captions):
            for number, line in enumerate(lines):
                canvas.text(self._column(column), y + number * _LINE, line, _CAPTION, GREY)
        y += self._caption_height
        for label, clips in self._rows:
            _write_label(canvas, label, y)
            for column, clip in enumerate(clips):
                tiles += _strip(clip, self._column(column), y)
            y += _CELL + _GAP
        return tiles

    def _column(self, index: int) -> int:
        return _MARGIN + self._label_width + index * (self._clip_width + _CLIP_GAP)


def _tiles(clip: Tensor, frames: int) -> list[Image.Image]:
    """Evenly spaced frames of a clip, the first and the last among them."""
    places = torch.linspace(0, len(clip) - 1, min(frames, len(clip))).round().long()
    return [_tile(frame) for frame in clip[places.to(clip.device)]]


def _tile(frame: Tensor) -> Image.Image:
    """A frame [3, H, W] at the sheet's height for frames; Lanczos keeps edges crisp, whether it enlarges or reduces."""
    image = to_picture(frame)
    size = (max(1, round(image.width * _CELL / image.height)), _CELL)
    return image.resize(size, Image.Resampling.LANCZOS)


def _strip(tiles: list[Image.Image], left: int, top: int) -> list[tuple[Image.Image, int, int]]:
    placed = []
    for tile in tiles:
        placed.append((tile, left, top))
        left += tile.width + _GAP
    return placed


def _strip_width(tiles: list[Image.Image]) -> int:
    return sum(tile.width + _GAP for tile in tiles) - _GAP


def _label_width(label: Sequence[str]) -> float:
    return max(text_width(line, _CAPTION if number else _LABEL) for number, line in enumerate(label))


def _write_label(canvas: Canvas, label: Sequence[str], y: int) -> None:
    canvas.text(_MARGIN, y + 4, label[0], _LABEL)
    for number, line in enumerate(label[1:]):
        canvas.text(_MARGIN, y + 32 + number * _LINE, line, _CAPTION, GREY)
