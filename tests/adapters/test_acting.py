"""While an adapter acts, the forward of its linears is replaced; before and after, nothing of it is left."""

import pytest
import torch
from torch import nn

WIDTH, RANK = 6, 2


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WIDTH)


def residual(pack, seed=0):
    generator = torch.Generator().manual_seed(seed)
    down, up = torch.randn(RANK, WIDTH, generator=generator), torch.randn(WIDTH, RANK, generator=generator)
    return pack.adapters.low_rank.LowRank(down, up, 0.5)


def linears(pack, layer, part):
    return [pack.adapters.acting.ActingLinear(layer, part, layer.weight.dtype, layer.weight.device)]


def delta(part):
    return part.scale * (part.up @ part.down).detach()


def test_residual_is_added_within_and_nothing_is_left_behind(pack, layer):
    part, x = residual(pack), torch.randn(3, WIDTH)
    before, attributes = layer(x), set(vars(layer))
    with pack.adapters.acting.acting(linears(pack, layer, part)):
        within = layer(x)
    assert torch.allclose(within, before + x @ delta(part).t(), atol=1e-6)
    assert torch.equal(layer(x), before) and set(vars(layer)) == attributes


def test_forward_that_someone_else_has_replaced_is_called_and_restored(pack, layer):
    part, x, plain = residual(pack), torch.randn(3, WIDTH), layer.forward
    layer.forward = theirs = lambda x: plain(x) + 1
    with pack.adapters.acting.acting(linears(pack, layer, part)):
        assert torch.allclose(layer(x), plain(x) + 1 + x @ delta(part).t(), atol=1e-6)
    assert layer.forward is theirs


def test_an_error_within_leaves_nothing_behind(pack, layer):
    with pytest.raises(RuntimeError), pack.adapters.acting.acting(linears(pack, layer, residual(pack))):
        layer(torch.randn(1, WIDTH + 1))
    assert "forward" not in vars(layer)


def test_what_acted_acts_again_and_not_twice(pack, layer):
    acting = pack.adapters.acting
    first, second = residual(pack, 0), residual(pack, 1)
    x = torch.randn(3, WIDTH)
    with acting.acting(linears(pack, layer, first)), acting.acting(linears(pack, layer, second)):
        both, again = layer(x), acting.acting_now()
        with again():
            assert torch.equal(layer(x), both)
    assert not torch.equal(layer(x), both)
    with again():
        assert torch.equal(layer(x), both)
    assert "forward" not in vars(layer)


def test_frozen_residual_acts_in_the_type_of_the_model_and_stays_as_it_is(pack, layer):
    layer, part, x = layer.bfloat16(), residual(pack).requires_grad_(False), torch.randn(3, WIDTH, dtype=torch.bfloat16)
    before = part.down.clone(), part.up.clone()
    with torch.inference_mode():
        acting = linears(pack, layer, part)
        with pack.adapters.acting.acting(acting):
            assert layer(x).dtype == torch.bfloat16
    assert torch.equal(part.down, before[0]) and torch.equal(part.up, before[1])
    with pack.adapters.acting.acting(acting):  # a training on top may save it for backward
        x.requires_grad_()
        layer(x).sum().backward()
    expected = (layer.weight.float() + delta(part)).sum(0).expand(3, -1)
    assert torch.allclose(x.grad.float(), expected, rtol=0.02, atol=0.05)


def test_layer_that_gets_another_float_type_than_the_model_computes_in(pack, layer):
    part = residual(pack).requires_grad_(False)
    acting = [pack.adapters.acting.ActingLinear(layer, part, torch.bfloat16, layer.weight.device)]
    x = torch.randn(3, WIDTH)
    before = layer(x)
    with torch.no_grad(), pack.adapters.acting.acting(acting):
        assert torch.allclose(layer(x), before + x @ delta(part).t(), rtol=0.02, atol=0.05)


def test_layer_tells_whether_it_was_called(pack, layer):
    acting = linears(pack, layer, residual(pack))
    with pack.adapters.acting.acting(acting):
        layer.weight @ torch.randn(WIDTH)
        assert not acting[0].ran
        layer(torch.randn(1, WIDTH))
        assert acting[0].ran
