"""Optical flow of pictures that move in a known way, and RAFT as torchvision runs it."""

import importlib
import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.optical_flow import raft_large
from torchvision.transforms._presets import OpticalFlow


@pytest.fixture(scope="module")
def flow_of(pack):
    return importlib.import_module(f"{pack.__name__}.evaluation.lucas_kanade").lucas_kanade


@pytest.fixture(scope="module")
def raft(pack):
    return importlib.import_module(f"{pack.__name__}.evaluation.raft")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return raft_large(weights=None).state_dict()


def shifted(x: float, y: float, height: int, width: int, grain: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth random texture, and the same moved by exactly (x, y) pixels through the phases of its spectrum.

    grain: how many times as long as wide its spots are, along the diagonal.
    """
    margin = 16
    rows, columns = height + 2 * margin, width + 2 * margin
    spectrum = torch.fft.fft2(torch.rand(3, rows, columns, generator=torch.Generator().manual_seed(0)))
    down, across = torch.fft.fftfreq(rows)[:, None], torch.fft.fftfreq(columns)
    along, across_it = (across + down) * grain / 2**0.5, (across - down) / 2**0.5
    spectrum = spectrum * torch.exp(-(along**2 + across_it**2) / (2 * 0.06**2))
    turned = spectrum * torch.exp(-2j * math.pi * (across * x + down * y))
    low, high = (edge(torch.fft.ifft2(spectrum).real) for edge in (torch.min, torch.max))
    return tuple(
        ((torch.fft.ifft2(part).real - low) / (high - low))[:, margin:-margin, margin:-margin] for part in (spectrum, turned)
    )


def strongest(flow: torch.Tensor) -> float:
    lengths = flow.norm(dim=0).flatten()
    return lengths.topk(len(lengths) // 20).values.mean().item()


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, -1), (0.5, 0.25), (3, -2), (-4, 4)])
def test_a_moved_picture_moves_by_that_much(flow_of, x, y):
    flow = flow_of(*shifted(x, y, 96, 128))
    error = flow - torch.tensor([x, y]).view(2, 1, 1)
    assert flow.shape == (2, 96, 128)
    assert error.norm(dim=0).mean() < 0.1
    assert flow.mean(dim=(1, 2)).tolist() == pytest.approx([x, y], abs=0.05)
    assert strongest(flow) == pytest.approx(math.hypot(x, y), rel=0.1, abs=0.2)


def test_grain_does_not_turn_the_direction(flow_of):
    flow = flow_of(*shifted(2, -1, 96, 128, grain=3))
    assert flow.mean(dim=(1, 2)).tolist() == pytest.approx([2, -1], abs=0.05)
    assert (flow - torch.tensor([2, -1]).view(2, 1, 1)).norm(dim=0).mean() < 0.18


def test_large_frames_are_measured_in_their_own_pixels(flow_of):
    first, second = (F.interpolate(part[None], scale_factor=5, mode="bicubic")[0] for part in shifted(3, -2, 96, 128))
    flow = flow_of(first, second)
    assert flow.shape == (2, 480, 640)
    assert flow.mean(dim=(1, 2)).tolist() == pytest.approx([15, -10], abs=0.5)


def test_only_what_moves_has_flow(flow_of):
    """A textured square goes 2 pixels to the right over a textured ground that stays."""
    ground, square = shifted(0, 0, 64, 64)[0], shifted(0, 0, 24, 24)[0].flip(0)
    first, second = ground.clone(), ground.clone()
    first[:, 20:44, 20:44] = square
    second[:, 20:44, 22:46] = square
    flow = flow_of(first, second)
    assert flow[:, 24:40, 24:38].mean(dim=(1, 2)).tolist() == pytest.approx([2, 0], abs=0.15)
    assert flow[:, :12].norm(dim=0).max() < 0.1 and flow[:, 54:].norm(dim=0).max() < 0.1


def test_a_still_picture_has_no_flow_even_with_the_noise_of_compression(flow_of):
    picture = shifted(0, 0, 64, 64)[0]
    assert flow_of(picture, picture).abs().max() == 0
    noise = 0.01 * torch.randn(2, *picture.shape, generator=torch.Generator().manual_seed(1))
    assert strongest(flow_of(picture + noise[0], picture + noise[1])) < 0.08
    assert flow_of(torch.full((3, 64, 64), 0.5), torch.full((3, 64, 64), 0.6)).abs().max() == 0


@pytest.mark.parametrize("size", [(32, 32), (33, 301), (97, 65)])
def test_frames_of_any_shape_have_a_flow(flow_of, size):
    flow = flow_of(torch.rand(3, *size), torch.rand(3, *size))
    assert flow.shape == (2, *size) and flow.isfinite().all()


def test_it_agrees_with_opencvs_flow(flow_of):
    import cv2

    first, second = shifted(3, -2, 96, 128)
    grey = [(part.mean(0) * 255).byte().numpy() for part in (first, second)]
    theirs = torch.from_numpy(cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)).movedim(-1, 0)
    assert (flow_of(first, second) - theirs).norm(dim=0).median() < 0.15


def test_raft_is_torchvisions(raft, weights, monkeypatch):
    assert raft.ITERATIONS == 20  # as VBench has it; fewer are enough to compare
    monkeypatch.setattr(raft, "ITERATIONS", 3)
    network = raft_large(weights=None)
    network.load_state_dict(weights)
    first, second = shifted(3, -2, 128, 136)
    prepared = OpticalFlow()(first[None], second[None])
    with torch.no_grad():
        expected = network.eval()(*prepared, num_flow_updates=3)[-1][0]
    ours = raft.Raft(weights)(first, second)
    assert torch.allclose(ours, expected, atol=1e-4) and ours.abs().mean() > 0.01


def test_raft_pads_to_multiples_of_eight_in_the_middle(raft, weights, monkeypatch):
    monkeypatch.setattr(raft, "ITERATIONS", 2)
    network = raft.Raft(weights)
    pair = [part[:, :131, :133] for part in shifted(1, 0, 136, 136)]
    expected = network(*(F.pad(part[None], (1, 2, 2, 3), mode="replicate")[0] for part in pair))
    assert torch.allclose(network(*pair), expected[:, 2:133, 1:134], atol=1e-4)


def test_raft_enlarges_what_is_too_small_for_it(raft, weights, monkeypatch):
    monkeypatch.setattr(raft, "ITERATIONS", 2)
    network = raft.Raft(weights)
    first, second = shifted(1, 0, 64, 70)
    large = [F.interpolate(part[None], scale_factor=2, mode="bilinear", align_corners=False)[0] for part in (first, second)]
    expected = F.avg_pool2d(network(*large), 2) / 2
    assert torch.allclose(network(first, second), expected, atol=1e-4)


def test_weights_of_another_network_are_refused(raft):
    with pytest.raises(ValueError, match="other weights than those of torchvision's raft_large"):
        raft.Raft({"conv.weight": torch.zeros(1)})
