"""Dynamic Degree with flows that are known: sampling, strength, threshold and count are VBench's."""

import importlib

import pytest
import torch


@pytest.fixture(scope="module")
def dynamic(pack):
    return importlib.import_module(f"{pack.__name__}.evaluation.dynamic_degree").dynamic_degree


def measured(dynamic, strengths, fps=8.0, size=(32, 32), seen=None):
    """A clip in which every frame after the first moves as a whole, by so many pixels."""
    count = len(strengths) + 1
    frames = (torch.arange(count) / 255).view(-1, 1, 1, 1).expand(-1, 3, *size)

    def flow(first, second):
        start, end = (round(frame[0, 0, 0].item() * 255) for frame in (first, second))
        if seen is not None:
            seen.append((start, end))
        return torch.tensor([-1.0, 0.0]).view(2, 1, 1).expand(2, *size) * sum(strengths[start:end])

    return dynamic(frames, fps, flow)


def test_strength_is_the_mean_of_the_strongest_twentieth(dynamic):
    flow = torch.zeros(2, 32, 50)
    flow[0].view(-1)[:100] = torch.arange(1.0, 101.0)  # 1600 pixels: the strongest 80 are 21 .. 100
    result = dynamic(torch.zeros(2, 3, 32, 50), 8.0, lambda first, second: flow)
    assert result.strength == pytest.approx((21 + 100) / 2)
    assert result.mean == pytest.approx(5050 / 1600)


def test_magnitude_is_the_length_of_both_directions(dynamic):
    flow = torch.tensor([3.0, -4.0]).view(2, 1, 1).expand(2, 32, 32)
    result = dynamic(torch.zeros(2, 3, 32, 32), 8.0, lambda first, second: flow)
    assert result.strength == pytest.approx(5) and result.mean == pytest.approx(5)


@pytest.mark.parametrize(("size", "threshold"), [((256, 256), 6), ((512, 320), 7.5), ((64, 64), 1.5)])
def test_the_threshold_grows_with_the_shorter_side(dynamic, size, threshold):
    assert measured(dynamic, [0.0], size=size).threshold == pytest.approx(threshold)


@pytest.mark.parametrize(("fps", "factor"), [(8, 1), (24, 1), (4, 2), (5, 1.6)])
def test_slower_videos_have_to_move_further_between_frames(dynamic, fps, factor):
    assert measured(dynamic, [0.0], fps).threshold == pytest.approx(0.75 * factor)


@pytest.mark.parametrize(
    ("fps", "frames"), [(8, [0, 1, 2, 3, 4, 5, 6]), (16, [0, 2, 4, 6]), (24, [0, 3, 6]), (30, [0, 4]), (3, list(range(7)))]
)
def test_about_eight_frames_a_second_are_compared(dynamic, fps, frames):
    seen = []
    result = measured(dynamic, [1.0] * 6, fps, seen=seen)
    assert result.frames == frames and seen == list(zip(frames, frames[1:]))


@pytest.mark.parametrize(("frames", "needed"), [(16, 4), (8, 2), (10, 2), (14, 4), (49, 12), (3, 1), (2, 1)])
def test_a_quarter_of_the_frames_has_to_move(dynamic, frames, needed):
    """Halves are rounded to even, as in Python. At least one pair is needed, but none by VBench's rule for 2 frames."""
    still, moving = [0.0] * (frames - 1 - needed), [0.8] * needed
    assert measured(dynamic, still + moving).moves
    assert not measured(dynamic, still + moving[1:] + [0.75]).moves  # not above the threshold
    assert measured(dynamic, still + moving).needed == needed


def test_a_single_frame_does_not_move(dynamic):
    result = measured(dynamic, [])
    assert not result.moves and result.strength == result.mean == 0 and result.strengths == []
