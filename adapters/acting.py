"""What makes an adapter act: the ``forward`` of its linears is replaced, exactly while it has to.

Before and after, the model is the original one down to its attributes, so nothing can differ from it. Compilers
notice a replaced ``forward``, which they do not do with a hook: what they have traced without it is traced anew.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .low_rank import LowRank

_thread = threading.local()  # the host runs the clones of several GPUs in threads of their own


class ActingLinear:
    """One linear or convolution of one model, with the residual that it has while the adapter acts.

    The weights of a residual that is not trained are kept as the model computes. ran: whether the model has called it.
    """

    def __init__(self, module: nn.Module, residual: LowRank, dtype: torch.dtype, device: torch.device):
        self.module: Any = module  # whose forward is assigned to
        self.residual = residual
        self.ran = False
        self._original: Callable = module.forward
        self._replaced = False
        self._weights: tuple[Tensor, Tensor] | None = None
        if not residual.trained:
            with torch.inference_mode(False):  # so that a training on top can differentiate through it
                self._weights = residual.weights(dtype, device)

    def put_in(self) -> None:
        self._replaced = "forward" in vars(self.module)
        self._original = self.module.forward
        self.module.forward = self._forward

    def take_out(self) -> None:
        if self._replaced:
            self.module.forward = self._original
        else:
            del self.module.forward

    def _forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        self.ran = True
        output = self._original(x, *args, **kwargs)
        if self._weights is None:
            down, up = self.residual.weights(x.dtype, x.device)
        else:
            down, up = (weight.to(x) for weight in self._weights)
        return self.residual.add_to(output, x, down, up)


Acting = list[ActingLinear]


@contextmanager
def acting(linears: Acting):
    """The residuals of ``linears`` act within; those that already do in this thread go on as they are."""
    before = _acting()
    if any(linears is other for other in before):
        yield
        return
    done = 0
    _thread.acting = (*before, linears)
    try:
        for linear in linears:
            linear.put_in()
            done += 1
        yield
    finally:
        for linear in reversed(linears[:done]):
            linear.take_out()
        _thread.acting = before


def acting_now() -> Callable[[], AbstractContextManager]:
    """The adapters that act in this thread, to be entered again where backward recomputes what they were in."""
    remembered = _acting()

    @contextmanager
    def again():
        with ExitStack() as stack:
            for linears in remembered:
                stack.enter_context(acting(linears))
            yield

    return again


def _acting() -> tuple[Acting, ...]:
    return getattr(_thread, "acting", ())
