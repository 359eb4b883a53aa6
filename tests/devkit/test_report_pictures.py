"""The pictures of a report show its numbers, in the right place and of the right size."""

import numpy as np
import pytest
import torch
from PIL import Image

from devkit.compare_sheet import _GAP, Comparison, compare_sheet

RED, GREEN, BLUE, YELLOW = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)


def clip(colour, frames=5, size=64):
    return torch.tensor(colour).float().view(1, 3, 1, 1).expand(frames, 3, size, size)


def where(image, colour):
    """(left, top, right, bottom) of the pixels of exactly this colour, or None."""
    if isinstance(colour, str):
        colour = tuple(bytes.fromhex(colour[1:]))
    hits = (np.asarray(image) == np.array(colour, dtype=np.uint8)).all(-1)
    if not hits.any():
        return None
    rows, columns = hits.any(1).nonzero()[0], hits.any(0).nonzero()[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def solid(colour):
    return tuple(255 * part for part in colour)


def test_compare_sheet_puts_photos_on_top_and_rows_below_in_order(tmp_path):
    ada = Comparison(
        "Ada",
        [clip(RED)[0]],
        ["in the snow"],
        [("Base", [clip(GREEN)]), ("Identity\njudge 0.81", [clip(BLUE)]), ("Identity + style", [clip(YELLOW)])],
    )
    sheet = compare_sheet([ada], tmp_path / "compare.png", frames=3)
    assert Image.open(tmp_path / "compare.png").size == sheet.size
    areas = [where(sheet, solid(colour)) for colour in (RED, GREEN, BLUE, YELLOW)]
    assert all(above[3] <= below[1] for above, below in zip(areas, areas[1:]))
    assert len({area[0] for area in areas}) == 1
    (height,) = {area[3] - area[1] for area in areas}  # no row covers another
    assert height >= 160 and areas[1][2] - areas[1][0] == 3 * height + 2 * _GAP


def test_compare_sheet_shows_the_first_and_the_last_frame():
    moving = torch.cat([clip(RED, 1), clip(GREEN, 5), clip(BLUE, 1)])
    sheet = compare_sheet([Comparison("Ada", [clip(YELLOW)[0]], ["x"], [("Base", [moving])])], frames=3)
    red, green, blue = (where(sheet, solid(colour)) for colour in (RED, GREEN, BLUE))
    assert red[2] <= green[0] and green[2] <= blue[0]


def test_compare_sheet_holds_several_people_and_frames_of_any_shape():
    wide = clip(BLUE, 1, 60).repeat(1, 1, 1, 2)
    people = [
        Comparison("Ada", [clip(RED)[0]], ["a", "b"], [("Base", [clip(GREEN), clip(GREEN)])]),
        Comparison("Bo", [wide[0]], ["a caption that is long " * 20], [("Base", [wide])]),
    ]
    one, both = compare_sheet(people[:1]), compare_sheet(people)
    assert both.height > 1.8 * one.height and both.width == one.width
    assert where(both, solid(GREEN)) == where(one, solid(GREEN)) and where(both, solid(BLUE))[1] > one.height


def test_compare_sheet_names_the_row_that_lacks_a_clip():
    with pytest.raises(ValueError, match='"Base" has 1 clips for 2 captions'):
        compare_sheet([Comparison("Ada", [clip(RED)[0]], ["a", "b"], [("Base", [clip(GREEN)])])])
