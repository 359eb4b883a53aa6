"""Line charts show their values where they belong, and axes enclose them."""

import importlib

import numpy as np
import pytest


@pytest.fixture(scope="module")
def module(pack):
    return lambda name: importlib.import_module(f"{pack.__name__}.drawing.{name}")


def where(image, colour):
    """(left, top, right, bottom) of the pixels of exactly this colour, or None."""
    hits = (np.asarray(image) == np.array(list(bytes.fromhex(colour[1:])), dtype=np.uint8)).all(-1)
    if not hits.any():
        return None
    rows, columns = hits.any(1).nonzero()[0], hits.any(0).nonzero()[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_a_falling_loss_falls_and_a_gap_stays_open(module):
    colour = module("canvas").SERIES[0]
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
