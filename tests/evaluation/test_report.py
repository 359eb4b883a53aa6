"""The pictures of a report show its numbers, in the right place and of the right size."""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

RED, GREEN, BLUE, YELLOW = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)


@pytest.fixture(scope="module")
def module(pack):
    return lambda name: importlib.import_module(f"{pack.__name__}.evaluation.{name}")


def identity(name, **changes):
    metrics = ("judge", "attributes", "dynamic", "prompt")
    both = {f"{metric}_{when}": 0.5 for metric in metrics for when in ("before", "after")}
    return {"name": name, **both, "drift_outside_head": 0.01, "train_seconds": 100.0, **changes}


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


def test_bars_are_as_high_as_their_values(module):
    drawing = module("drawing")
    chart = module("charts").bar_chart("Title", "unit", ["Ada"], [0.25], [1.0], (340, 320))
    before, after = where(chart, drawing.BEFORE), where(chart, drawing.AFTER)
    assert before[2] <= after[0]
    assert (after[3] - after[1]) / (before[3] - before[1]) == pytest.approx(4, rel=0.03)


def test_negative_bars_hang_below_zero_and_unmeasured_ones_are_absent(module):
    drawing = module("drawing")
    chart = module("charts").bar_chart("Title", "unit", ["Ada"], [-0.5], [0.5], (340, 320))
    assert where(chart, drawing.BEFORE)[1] >= where(chart, drawing.AFTER)[3] - 2
    chart = module("charts").bar_chart("Title", "unit", ["Ada"], [None], [float("nan")], (340, 320))
    assert where(chart, drawing.BEFORE) is None and where(chart, drawing.AFTER) is None


def test_a_falling_loss_falls_and_a_gap_stays_open(module):
    colour = module("drawing").SERIES[0]
    values = [1.0] * 20 + [float("nan")] * 20 + [0.0] * 20
    chart = module("charts").line_chart("Loss", "loss", "step", {"identity": values}, (400, 320))
    plot = chart.crop((64, 66, 380, 272))
    third = plot.width // 3
    parts = [plot.crop((left, 0, left + third, plot.height)) for left in (0, third, 2 * third)]
    first, gap, last = (where(part, colour) for part in parts)
    assert first[3] < 20 and last[1] > 180
    assert gap is None


@pytest.mark.parametrize("losses", [{}, {"identity": []}, {"identity": [0.5]}, {"identity": [0.3] * 9}])
def test_short_and_constant_curves_are_drawn_without_error(module, losses):
    assert module("charts").line_chart("Loss", "loss", "step", losses, (400, 320)).size == (400, 320)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (-0.06, 0.83), (0, 1234), (1e-9, 3e-9), (-7, -7)])
def test_axis_ticks_are_few_and_enclose_the_values(module, low, high):
    ticks = module("charts")._ticks(low, high, 4)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7


@pytest.mark.parametrize("count", [1, 4, 10])
def test_report_plot_draws_every_metric_of_every_identity(module, tmp_path, count):
    identities = [identity(f"Person {number}") for number in range(count)]
    page = module("report").report_plot({"identities": identities, "total_seconds": 200.0}, tmp_path / "report.png")
    assert Image.open(tmp_path / "report.png").size == page.size
    charts = np.asarray(page.crop((0, 80, *page.size)))
    blue = (charts == np.array(tuple(bytes.fromhex(module("drawing").AFTER[1:])), dtype=np.uint8)).all(-1)
    starts = blue[1:, 1:] & ~blue[:-1, 1:] & ~blue[1:, :-1]  # the upper left corner of each bar
    assert starts.sum() == 4 * count


def test_report_plot_adds_the_loss_curves_it_is_given(module):
    plain = module("report").report_plot({"identities": [identity("Ada")], "total_seconds": 1.0})
    losses = {"identity": [1.0, 0.5], "semantic": [0.1, 0.1]}
    curves = module("report").report_plot({"identities": [identity("Ada", losses=losses)], "total_seconds": 1.0})
    assert curves.width > plain.width
    assert where(curves, module("drawing").SERIES[1]) and not where(plain, module("drawing").SERIES[1])


def test_a_report_without_identities_is_an_error(module):
    with pytest.raises(ValueError, match="no identities"):
        module("report").report_plot({"identities": [], "total_seconds": 0.0})


def test_compare_sheet_puts_photos_on_top_and_rows_below_in_order(module, tmp_path):
    compare = module("compare")
    ada = compare.Comparison(
        "Ada",
        [clip(RED)[0]],
        ["in the snow"],
        [("Base", [clip(GREEN)]), ("Identity\njudge 0.81", [clip(BLUE)]), ("Identity + style", [clip(YELLOW)])],
    )
    sheet = compare.compare_sheet([ada], tmp_path / "compare.png", frames=3)
    assert Image.open(tmp_path / "compare.png").size == sheet.size
    areas = [where(sheet, solid(colour)) for colour in (RED, GREEN, BLUE, YELLOW)]
    assert all(above[3] <= below[1] for above, below in zip(areas, areas[1:]))
    assert len({area[0] for area in areas}) == 1
    (height,) = {area[3] - area[1] for area in areas}  # no row covers another
    assert height >= 160 and areas[1][2] - areas[1][0] == 3 * height + 2 * compare._GAP


def test_compare_sheet_shows_the_first_and_the_last_frame(module):
    compare = module("compare")
    moving = torch.cat([clip(RED, 1), clip(GREEN, 5), clip(BLUE, 1)])
    sheet = compare.compare_sheet([compare.Comparison("Ada", [clip(YELLOW)[0]], ["x"], [("Base", [moving])])], frames=3)
    red, green, blue = (where(sheet, solid(colour)) for colour in (RED, GREEN, BLUE))
    assert red[2] <= green[0] and green[2] <= blue[0]


def test_compare_sheet_holds_several_people_and_frames_of_any_shape(module):
    compare = module("compare")
    wide = clip(BLUE, 1, 60).repeat(1, 1, 1, 2)
    people = [
        compare.Comparison("Ada", [clip(RED)[0]], ["a", "b"], [("Base", [clip(GREEN), clip(GREEN)])]),
        compare.Comparison("Bo", [wide[0]], ["a caption that is long " * 20], [("Base", [wide])]),
    ]
    one, both = compare.compare_sheet(people[:1]), compare.compare_sheet(people)
    assert both.height > 1.8 * one.height and both.width == one.width
    assert where(both, solid(GREEN)) == where(one, solid(GREEN)) and where(both, solid(BLUE))[1] > one.height


def test_compare_sheet_names_the_row_that_lacks_a_clip(module):
    compare = module("compare")
    with pytest.raises(ValueError, match='"Base" has 1 clips for 2 captions'):
        compare.compare_sheet([compare.Comparison("Ada", [clip(RED)[0]], ["a", "b"], [("Base", [clip(GREEN)])])])


def test_text_wraps_within_its_width_and_never_shows_missing_glyphs(module):
    drawing = module("drawing")
    lines = drawing.wrap("a person on the beach, wearing a purple shirt, moving left " * 3, 14, 200, most=2)
    assert len(lines) == 2 and lines[1].endswith("...")
    assert all(drawing.text_width(line, 14) <= 200 for line in lines)
    assert drawing.wrap("Donaudampfschifffahrtsgesellschaft", 14, 80, most=1)[0].endswith("...")
    assert drawing.printable("José → Zoë") == "Jose ? Zoe"
