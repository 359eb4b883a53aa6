"""The Frechet distance against cases computed by hand and against SciPy's matrix root, and the features it compares."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torchvision.models.video import S3D_Weights, s3d

from benchmarks.table1.frechet import frechet_distance
from benchmarks.table1.video_features import video_features, video_network


def gaussian(seed, count, size):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator, dtype=torch.double)
    return torch.randn(count, size, generator=generator, dtype=torch.double) @ mixing + torch.randn(size, generator=generator)


def test_of_one_number_it_is_that_of_means_and_deviations():
    """The deviation over N - 1 is sqrt 2 for (-1, 1), and three times that for (-3, 3)."""
    first, second = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [8.0]])
    expected = (0 - 5) ** 2 + (2**0.5 - 3 * 2**0.5) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_of_independent_numbers_it_is_the_sum_over_them():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    scale = (4 / 3) ** 0.5  # the deviation of each column
    distance = frechet_distance(signs * torch.tensor([1.0, 2.0]), signs * torch.tensor([4.0, 2.5]) + 1)
    assert distance == pytest.approx(1 + 1 + (3 * scale) ** 2 + (0.5 * scale) ** 2)


def test_it_is_the_formula_with_scipys_matrix_root():
    first, second = gaussian(0, 60, 5), gaussian(1, 40, 5)
    c1, c2 = np.cov(first.numpy(), rowvar=False), np.cov(second.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    means = ((first.mean(0) - second.mean(0)) ** 2).sum().item()
    expected = means + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_it_holds_with_fewer_videos_than_features():
    """The same points in a space of many more dimensions are as far apart."""
    first, second = gaussian(0, 8, 3), gaussian(1, 6, 3)
    turn = torch.linalg.qr(torch.randn(50, 3, generator=torch.Generator().manual_seed(2), dtype=torch.double)).Q
    assert frechet_distance(first @ turn.T, second @ turn.T) == pytest.approx(frechet_distance(first, second))


def test_a_set_is_not_apart_from_itself_nor_from_its_order():
    features = gaussian(0, 10, 6)
    assert frechet_distance(features, features.flip(0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("shapes", "words"), [(((1, 4), (5, 4)), "got 1 and 5"), (((3, 4), (3, 5)), "different networks")])
def test_sets_that_have_no_distance_are_an_error(shapes, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(*(torch.zeros(shape) for shape in shapes))


def test_video_features_are_what_s3ds_classifier_sees():
    torch.manual_seed(0)
    network = s3d(weights=None).eval()
    video = torch.rand(33, 3, 40, 56) * torch.linspace(0, 1, 33).view(-1, 1, 1, 1)
    features = video_features(video_network(network.state_dict()), [video])
    chosen = video[np.linspace(0, 32, 16, dtype=int)]
    with torch.no_grad():
        logits = network(S3D_Weights.KINETICS400_V1.transforms()(chosen)[None])
    weight, bias = network.classifier[1].weight.detach().flatten(1), network.classifier[1].bias.detach()
    assert features.shape == (1, 1024)
    assert (features @ weight.T + bias - logits).norm() < 1e-3 * (logits - bias).norm()


def test_weights_of_another_video_network_are_refused_by_the_name_of_the_right_ones():
    with pytest.raises(ValueError, match="^weights: .* take its file s3d-d76dad2f.pth[.]$"):
        video_network({"conv.weight": torch.zeros(1)})
