"""Operations of matrix products, convolutions and attention, counted while they are computed, or would be."""

from torch import Tensor, ops
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count


class Operations(TorchDispatchMode):
    """``count``: of all that ran inside, a multiplication and an addition being two.

    Tensors may be on the meta device, which has shapes and no numbers. Counts by PyTorch's formulas, as its
    FlopCounterMode does, which cannot follow modules into a block that is computed again. Fused attention on the CPU, which
    PyTorch has no formula for, counts as the products that it is made of: two forward, four backward.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        if formula := _FORMULAS.get(function._overloadpacket):
            self.count += formula(*args, **kwargs or {}, out_val=out)
        return out


def _attention(query: Tensor, key: Tensor, value: Tensor, *args, out_val=None, **kwargs) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *args, out_val=None, **kwargs) -> int:
    return 2 * sdpa_flop_count(query.shape, key.shape, value.shape)


_FORMULAS = flop_registry | {
    ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
