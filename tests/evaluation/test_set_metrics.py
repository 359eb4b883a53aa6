"""CLIP metrics and the Frechet distance against cases computed by hand, and against SciPy's matrix root."""

import importlib

import numpy as np
import pytest
import scipy.linalg
import torch
from torchvision.models.video import S3D_Weights, s3d


@pytest.fixture(scope="module")
def module(pack):
    return lambda name: importlib.import_module(f"{pack.__name__}.evaluation.{name}")


def test_temporal_consistency_is_the_mean_cosine_of_neighbours(module):
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 3.0]])
    assert module("clip_metrics").temporal_consistency(features) == pytest.approx((0.6 + 0.8) / 2)
    assert module("clip_metrics").temporal_consistency(features[:1]) is None


def test_clip_t_is_a_hundred_times_the_mean_cosine_with_the_prompt(module):
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -2.0]])
    assert module("clip_metrics").clip_t(features, torch.tensor([0.0, 5.0])) == pytest.approx(100 * (0 + 0.8 - 1) / 3)


def test_clip_i_is_a_hundred_times_the_mean_cosine_of_all_pairs(module):
    frames, photos = torch.tensor([[2.0, 0.0], [0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert module("clip_metrics").clip_i(frames, photos) == pytest.approx(100 * (1 + 0 - 1 + 0.6 + 0.8 - 0.6) / 6)


def test_features_are_the_scorers_for_every_frame_however_many(module, demo):
    frames = torch.rand(19, 3, 64, 64)
    parts = []
    features = module("clip_metrics").image_features(demo.semantic_reward, frames, lambda: parts.append(1))
    with torch.no_grad():
        assert torch.allclose(features, demo.semantic_reward.encode_image(frames), atol=1e-5)
    assert len(parts) == 3


def gaussian(seed, count, size):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator, dtype=torch.double)
    return torch.randn(count, size, generator=generator, dtype=torch.double) @ mixing + torch.randn(size, generator=generator)


def test_of_one_number_it_is_that_of_means_and_deviations(module):
    """Deviations over N - 1: of (-1, 1) it is sqrt 2, of (-3, 3) three times that."""
    first, second = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [8.0]])
    expected = (0 - 5) ** 2 + (2**0.5 - 3 * 2**0.5) ** 2
    assert module("frechet").frechet_distance(first, second) == pytest.approx(expected)


def test_of_independent_numbers_it_is_the_sum_over_them(module):
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    scale = (4 / 3) ** 0.5  # the deviation of each column
    distance = module("frechet").frechet_distance(signs * torch.tensor([1.0, 2.0]), signs * torch.tensor([4.0, 2.5]) + 1)
    assert distance == pytest.approx(1 + 1 + (3 * scale) ** 2 + (0.5 * scale) ** 2)


def test_it_is_the_formula_with_scipys_matrix_root(module):
    first, second = gaussian(0, 60, 5), gaussian(1, 40, 5)
    c1, c2 = np.cov(first.numpy(), rowvar=False), np.cov(second.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    means = ((first.mean(0) - second.mean(0)) ** 2).sum().item()
    expected = means + np.trace(c1 + c2 - 2 * root)
    assert module("frechet").frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_it_holds_with_fewer_videos_than_features(module):
    """The same points in a space of many more dimensions are as far apart."""
    first, second = gaussian(0, 8, 3), gaussian(1, 6, 3)
    turn = torch.linalg.qr(torch.randn(50, 3, generator=torch.Generator().manual_seed(2), dtype=torch.double)).Q
    frechet_distance = module("frechet").frechet_distance
    assert frechet_distance(first @ turn.T, second @ turn.T) == pytest.approx(frechet_distance(first, second))


def test_a_set_is_not_apart_from_itself_nor_from_its_order(module):
    features = gaussian(0, 10, 6)
    assert module("frechet").frechet_distance(features, features.flip(0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("shapes", "words"), [(((1, 4), (5, 4)), "got 1 and 5"), (((3, 4), (3, 5)), "different networks")])
def test_sets_that_have_no_distance_are_an_error(module, shapes, words):
    with pytest.raises(ValueError, match=words):
        module("frechet").frechet_distance(*(torch.zeros(shape) for shape in shapes))


def test_video_features_are_what_s3ds_classifier_sees(module):
    torch.manual_seed(0)
    network = s3d(weights=None).eval()
    video = torch.rand(33, 3, 40, 56) * torch.linspace(0, 1, 33).view(-1, 1, 1, 1)
    features = module("video_features").video_features(module("video_features").video_network(network.state_dict()), [video])
    chosen = video[np.linspace(0, 32, 16, dtype=int)]
    with torch.no_grad():
        logits = network(S3D_Weights.KINETICS400_V1.transforms()(chosen)[None])
    weight, bias = network.classifier[1].weight.detach().flatten(1), network.classifier[1].bias.detach()
    assert features.shape == (1, 1024)
    assert (features @ weight.T + bias - logits).norm() < 1e-3 * (logits - bias).norm()


def test_weights_of_another_video_network_are_refused_by_the_name_of_the_right_ones(module):
    with pytest.raises(ValueError, match="^weights: .* take its file s3d-d76dad2f.pth[.]$"):
        module("video_features").video_network({"conv.weight": torch.zeros(1)})
