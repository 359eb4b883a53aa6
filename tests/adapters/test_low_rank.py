"""One residual of Eq. 6 on one layer: the same values with and without gradient, in any float type."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

RANK, WIDTH, FEATURES, SCALE = 4, 12, 20, 0.5


def residual(pack, rows=FEATURES, convolution=None):
    generator = torch.Generator().manual_seed(0)
    kernel = convolution.kernel_size if convolution else ()
    down = torch.randn(RANK, WIDTH, *kernel, generator=generator)
    up = torch.randn(rows, RANK, *(1 for _ in kernel), generator=generator)
    if convolution:
        return pack.adapters.low_rank.LowRankConv2d(down, up, SCALE, convolution)
    return pack.adapters.low_rank.LowRank(down, up, SCALE)


def added(part, layer, x):
    return part.add_to(layer(x), x, *part.weights(x.dtype, x.device))


def expected(layer, part, x):
    """The layer with the residual merged into its weight."""
    weight = layer.weight.detach().clone()
    weight[: len(part.up)] += SCALE * (part.up.flatten(1) @ part.down.flatten(1)).detach().view(-1, *weight.shape[1:])
    if weight.ndim == 2:
        return F.linear(x, weight, layer.bias)
    return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding)


@pytest.mark.parametrize("rows", [FEATURES, 8])
@pytest.mark.parametrize("gradient", [False, True])
def test_residual_equals_the_merged_weight(pack, rows, gradient):
    layer, part = nn.Linear(WIDTH, FEATURES), residual(pack, rows)
    x = torch.randn(2, 3, WIDTH)
    with torch.set_grad_enabled(gradient):
        assert torch.allclose(added(part, layer, x), expected(layer, part, x), atol=1e-5)


@pytest.mark.parametrize("gradient", [False, True])
def test_residual_of_a_convolution_equals_the_merged_weight(pack, gradient):
    layer = nn.Conv2d(WIDTH, FEATURES, 3, stride=2, padding=1)
    part = residual(pack, convolution=layer)
    x = torch.randn(2, WIDTH, 8, 8)
    with torch.set_grad_enabled(gradient):
        assert torch.allclose(added(part, layer, x), expected(layer, part, x), atol=1e-5)


@pytest.mark.parametrize("rows", [FEATURES, 8])
def test_gradient_equals_that_of_the_merged_weight(pack, rows):
    layer, part = nn.Linear(WIDTH, FEATURES).requires_grad_(False), residual(pack, rows)
    x, weight = torch.randn(2, 3, WIDTH), torch.randn(2, 3, FEATURES)
    parameters = part.down, part.up

    def gradients(output):
        return torch.autograd.grad((output * weight).sum(), parameters)

    merged = F.linear(x, layer.weight + SCALE * F.pad(part.up, (0, 0, 0, FEATURES - rows)) @ part.down, layer.bias)
    for ours, theirs in zip(gradients(added(part, layer, x)), gradients(merged)):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("gradient", [False, True])
def test_layer_may_answer_in_another_float_type(pack, gradient):
    layer, part, x = nn.Linear(WIDTH, FEATURES), residual(pack), torch.randn(2, 3, WIDTH)
    with torch.set_grad_enabled(gradient):
        result = part.add_to(layer(x).bfloat16(), x, *part.weights(x.dtype, x.device))
    assert result.dtype == torch.bfloat16
    assert torch.allclose(result.float(), expected(layer, part, x), rtol=0.02, atol=0.1)


def test_trained_residual_follows_its_weights(pack):
    layer, part = nn.Linear(WIDTH, FEATURES), residual(pack)
    x = torch.randn(3, WIDTH)
    with torch.no_grad():
        added(part, layer, x)
        part.up.mul_(2)
        assert torch.allclose(added(part, layer, x), expected(layer, part, x), atol=1e-5)
