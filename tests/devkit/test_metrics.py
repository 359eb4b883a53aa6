"""Metrics against cases computed by hand."""

import pytest
import torch

from devkit import metrics


def boxes(x, y, half):
    """Boxes [F, 4] of heads at the centres x, y with half sides `half`, all [F]."""
    return torch.stack([x - half, y - half, x + half, y + half], -1)


def test_similarity_is_the_mean_cosine_over_frames_and_pool():
    embeddings = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    references = torch.tensor([[1.0, 0.0], [-5.0, 0.0], [1.0, 1.0]])
    assert metrics.pool_similarity(embeddings, references) == pytest.approx((1 - 1 + 0 + 0 + 2**0.5) / 6)


def test_similarity_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="got 0 and 1"):
        metrics.pool_similarity(torch.zeros(0, 4), torch.ones(1, 4))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_steady_movement_and_zoom_keep_their_speed(axis):
    track = torch.tensor([[40.0, 30.0, 20.0]]).repeat(8, 1)
    track[:, axis] += 1.5 * torch.arange(8)
    assert metrics.head_motion(boxes(*track.T)) == pytest.approx(1.5, abs=1e-5)


def test_a_flickering_locator_is_no_motion():
    flicker = 2.0 * (-1.0) ** torch.arange(8)
    still = torch.full((8,), 32.0)
    assert metrics.head_motion(boxes(still + flicker, still - flicker, still / 2)) == pytest.approx(0, abs=1e-6)


def test_random_jitter_weighs_a_third_of_its_raw_steps():
    x, y, half = 32 + torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    raw = torch.stack([x, y, half], -1).diff(dim=0).norm(dim=-1).mean().item()
    assert metrics.head_motion(boxes(x, y, half)) == pytest.approx(raw * 8**-0.5, rel=0.05)


def test_motion_of_too_few_frames_is_an_error():
    with pytest.raises(ValueError, match="4 frames or more, got 3"):
        metrics.head_motion(torch.zeros(3, 4))


def test_drift_counts_only_pixels_outside_the_boxes_of_both_clips():
    before = torch.full((2, 3, 4, 4), 0.5)
    after = before.clone()
    after[:, :, :, :2] += 0.4  # under the boxes
    after[1, 0, 3, 3] += 0.3  # outside, one channel of one of 2 * 8 pixels
    heads = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [0.0, 2.0, 2.0, 4.0]]]).repeat(2, 1, 1)
    assert metrics.drift_outside(before, after, heads) == pytest.approx(0.3 / 3 / 16, abs=1e-6)
    assert metrics.drift_outside(before, after, heads[:, :1]) == pytest.approx((8 * 0.4 + 0.1) / 24, abs=1e-6)


@pytest.mark.parametrize("side", [0, 1, 2, 3])
def test_a_pixel_belongs_to_a_box_if_its_centre_does(side):
    before, after = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    after[..., 1, 1] = 1
    box = torch.tensor([[[1.0, 1.0, 2.0, 2.0]]])
    box[..., side] = 1.4 if side < 2 else 1.6
    assert metrics.drift_outside(before, after, box) == 0
    box[..., side] = 1.6 if side < 2 else 1.4
    assert metrics.drift_outside(before, after, box) > 0


def test_drift_follows_the_boxes_from_frame_to_frame():
    before, after = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    after[0, :, 0], after[1, :, 3] = 1, 1
    heads = torch.tensor([[[0.0, 0.0, 4.0, 1.0]], [[0.0, 3.0, 4.0, 4.0]]])
    assert metrics.drift_outside(before, after, heads) == 0
    assert metrics.drift_outside(before, after, heads.flip(0)) == pytest.approx(8 / 24)


def test_drift_with_nothing_outside_is_an_error():
    frames = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="cover every pixel"):
        metrics.drift_outside(frames, frames, torch.tensor([[[0.0, 0.0, 4.0, 4.0]]]))


def test_agreement_is_the_share_that_matches_what_most_references_show():
    references = torch.tensor([[1, 4], [1, 0], [2, 0]])
    assert metrics.agreement(torch.tensor([[1, 0], [1, 3], [0, 0], [2, 4]]), references) == 4 / 8
