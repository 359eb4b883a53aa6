"""CLIP metrics against cases computed by hand."""

import importlib

import pytest
import torch


@pytest.fixture(scope="module")
def metrics(pack):
    return importlib.import_module(f"{pack.__name__}.evaluation.clip_metrics")


def test_temporal_consistency_is_the_mean_cosine_of_neighbours(metrics):
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 3.0]])
    assert metrics.temporal_consistency(features) == pytest.approx((0.6 + 0.8) / 2)
    assert metrics.temporal_consistency(features[:1]) is None


def test_clip_t_is_a_hundred_times_the_mean_cosine_with_the_prompt(metrics):
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -2.0]])
    assert metrics.clip_t(features, torch.tensor([0.0, 5.0])) == pytest.approx(100 * (0 + 0.8 - 1) / 3)


def test_clip_i_is_a_hundred_times_the_mean_cosine_of_all_pairs(metrics):
    frames, photos = torch.tensor([[2.0, 0.0], [0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert metrics.clip_i(frames, photos) == pytest.approx(100 * (1 + 0 - 1 + 0.6 + 0.8 - 0.6) / 6)


def test_features_are_the_scorers_for_every_frame_however_many(metrics, demo):
    frames = torch.rand(19, 3, 64, 64)
    parts = []
    features = metrics.image_features(demo.semantic_reward, frames, lambda: parts.append(1))
    with torch.no_grad():
        assert torch.allclose(features, demo.semantic_reward.encode_image(frames), atol=1e-5)
    assert len(parts) == 3
