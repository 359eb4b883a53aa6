"""Frames as pictures: each pixel kept, small ones enlarged with hard edges, large ones resampled."""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="module")
def frames(pack):
    return importlib.import_module(f"{pack.__name__}.drawing.frames")


@pytest.fixture(scope="module")
def checks(frames):
    """A chess board of 4 x 2 pixels."""
    return frames.to_picture(torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 0]]).expand(3, 2, 4))


def test_a_frame_keeps_each_pixel(frames):
    frame = torch.linspace(-0.1, 1.1, 24).view(3, 2, 4)
    assert (np.asarray(frames.to_picture(frame)) == (frame.clamp(0, 1) * 255).round().movedim(0, -1).numpy()).all()


def test_much_enlarged_pixels_are_squares(frames, checks):
    assert (np.asarray(frames.fitted(checks, 100, 24)) == np.asarray(checks).repeat(12, 0).repeat(12, 1)).all()


def test_squares_are_of_one_size_where_the_factor_is_no_whole_number(frames, checks):
    picture = np.asarray(frames.fitted(checks, 42, 42))[:, :, 0]  # 10.5 times
    assert picture.shape == (21, 42)
    assert (picture[0] == [0] * 10 + [128] + [255] * 10 + [0] * 10 + [128] + [255] * 10).all()


@pytest.mark.parametrize(("width", "height", "size"), [(7, 7, (7, 4)), (2, 9, (2, 1)), (400, 1, (2, 1))])
def test_others_are_resampled_to_the_room_there_is(frames, checks, width, height, size):
    picture = frames.fitted(checks, width, height)
    assert picture.size == size
    assert picture.tobytes() == checks.resize(size, Image.Resampling.LANCZOS).tobytes()
