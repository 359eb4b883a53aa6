"""One picture of how a video fares: its figures, frames with the faces that were judged, and curves over time."""

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from ..drawing.canvas import GREY, RULE, SERIES, Canvas, wrap
from ..drawing.charts import LABEL, point_chart
from ..drawing.frames import to_picture
from .dynamic_degree import Dynamics
from .face_similarity import FaceSimilarity, JudgedFrame
from .frames import evenly_spaced
from .video_table import Row

WIDTH = 1040  # pixels
SHOWN_FRAMES = 8
NO_FACE = "no face"
_MARGIN, _GAP, _CAPTION, _LINE, _HIGHEST = 24, 6, 13, 20, 200
_FIGURE, _FIGURES_IN_A_ROW, _FIGURE_HEIGHT = 24, 4, 64
_CHART_SIZE = WIDTH - 24, 260


def video_plot(
    title: str,
    figures: Sequence[Row],
    photo: Tensor,
    frames: Tensor,
    faces: FaceSimilarity,
    dynamics: Dynamics,
    remarks: Sequence[str],
) -> Image.Image:
    """The whole picture.

    title: one line. photo: a reference, [3, H, W] in 0..1. frames: the video, [F, 3, H, W] in 0..1. remarks: what may be
    wrong with the figures, written below everything else.
    """
    parts = [
        _head(title, figures),
        _strip(photo, frames, _shown(faces)),
        point_chart(
            "Is it the person?",
            "face similarity of the judged frames (gaps: no face)",
            "frame",
            [(frame.index + 1, frame.similarity) for frame in _distinct(faces)],
            len(frames),
            (0.0, 1.0),
            (f"mean {faces.score:.2f}", faces.score),
            _CHART_SIZE,
        ),
        point_chart(
            "Does it move?",
            "strongest 5 % of the flow, pixels, from the frame before",
            "frame",
            [(index + 1, strength) for index, strength in zip(dynamics.frames[1:], dynamics.strengths)],
            len(frames),
            (0.0,),
            (f"moving above {dynamics.threshold:.2f}", dynamics.threshold),
            _CHART_SIZE,
        ),
        *([_remarks(remarks)] if remarks else []),
    ]
    page = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        page.paste(part, ((WIDTH - part.width) // 2, top))
        top += part.height
    return page


def _head(title: str, figures: Sequence[Row]) -> Image.Image:
    """The title, and below it the figures in large type, each with its name in grey."""
    lines = -(-len(figures) // _FIGURES_IN_A_ROW)
    canvas = Canvas(WIDTH, 56 + lines * _FIGURE_HEIGHT)
    width = (WIDTH - 2 * _MARGIN) / _FIGURES_IN_A_ROW
    canvas.text(_MARGIN, 14, wrap(title, LABEL, WIDTH - 2 * _MARGIN, most=1)[0], LABEL, GREY)
    canvas.line([(_MARGIN, 42), (WIDTH - _MARGIN, 42)], RULE)
    for number, row in enumerate(figures):
        x = _MARGIN + number % _FIGURES_IN_A_ROW * width
        y = 52 + number // _FIGURES_IN_A_ROW * _FIGURE_HEIGHT
        known = any(letter.isdigit() for letter in row.value) or "move" in row.value
        canvas.text(x, y, row.value, _FIGURE if known else LABEL, *(() if known else (GREY,)))
        canvas.text(x, y + 32, row.metric, _CAPTION, GREY)
    return canvas.image()


def _strip(photo: Tensor, frames: Tensor, shown: Sequence[JudgedFrame]) -> Image.Image:
    """The photo and the frames, as large as fits, with a box around each judged face and its similarity below."""
    tiles = [("a photo", to_picture(photo), None)]
    for frame in shown:
        similarity = NO_FACE if frame.similarity is None else f"{frame.similarity:.2f}"
        tiles.append((f"{frame.index + 1}: {similarity}", to_picture(frames[frame.index]), frame.box))
    room = WIDTH - 2 * _MARGIN - _GAP * len(tiles)
    height = round(min(_HIGHEST, room / sum(picture.width / picture.height for _, picture, _ in tiles)))
    canvas = Canvas(WIDTH, height + 40)
    x, placed = _MARGIN, []
    for caption, picture, box in tiles:
        scale = height / picture.height
        picture = picture.resize((max(1, round(picture.width * scale)), height), Image.Resampling.LANCZOS)
        if box is not None:
            ImageDraw.Draw(picture).rectangle([edge * scale for edge in box], outline=SERIES[0], width=2)
        placed.append((picture, (x, 4)))
        canvas.text(x, height + 10, caption, _CAPTION, SERIES[1] if caption.endswith(NO_FACE) else GREY)
        x += picture.width + (2 * _GAP if len(placed) == 1 else _GAP)
    strip = canvas.image()
    for picture, place in placed:
        strip.paste(picture, place)
    return strip


def _remarks(remarks: Sequence[str]) -> Image.Image:
    lines = [line for remark in remarks for line in wrap(remark, LABEL, WIDTH - 2 * _MARGIN, most=4)]
    canvas = Canvas(WIDTH, _LINE * len(lines) + _MARGIN)
    for number, line in enumerate(lines):
        canvas.text(_MARGIN, 8 + _LINE * number, line, LABEL, SERIES[1])
    return canvas.image()


def _distinct(faces: FaceSimilarity) -> list[JudgedFrame]:
    return list({frame.index: frame for frame in faces.frames}.values())


def _shown(faces: FaceSimilarity) -> list[JudgedFrame]:
    distinct = _distinct(faces)
    return [distinct[place] for place in evenly_spaced(len(distinct), min(SHOWN_FRAMES, len(distinct)))]
