"""Exact recomputation of activations in the backward pass, through blocks that the host owns.

The reentrant form of ``torch.utils.checkpoint`` is used throughout: where blocks add
in place to tensors that autograd has saved, the other form gives wrong gradients
without an error (the recomputed tensors are mutated before they are used).
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import PatcherInjection
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..adapters.architectures import Architecture
from ..adapters.late_step import at_sigma, current_sigma
from .saved_tensors import saved_tensors_survive

CHECKPOINTING = ("off", "steps", "blocks")


def recomputed(function: Callable, *tensors: Tensor):
    """``function(*tensors)``, a tensor or a tuple of tensors, without keeping its activations.

    Gradients also reach what the function closes over, such as the adapter's weights.
    """
    # The reentrant form needs an input and an output that ask for a gradient.
    anchor = torch.empty(0, requires_grad=True)

    def anchored(anchor, *inputs):
        outputs = function(*inputs)
        return *(outputs if isinstance(outputs, tuple) else (outputs,)), anchor.clone()

    *outputs, _ = checkpoint(anchored, anchor, *tensors, use_reentrant=True, preserve_rng_state=False)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def mutations_allowed(architecture: Architecture):
    """Context for forward and backward together, in which saved tensors survive in-place changes."""
    if architecture.mutates_saved_tensors:
        return saved_tensors_survive()
    return nullcontext()


class BlockCheckpointing:
    """Recomputes each transformer or UNet block by itself while the host holds the patcher's injections."""

    def __init__(self, architecture: Architecture):
        self.architecture = architecture
        self._wrapped: list[nn.Module] = []

    def attach(self, patcher: ModelPatcher) -> None:
        """Hang the injection on ``patcher`` (a clone that the caller owns), after all others."""
        patcher.set_injections("personalvideo_blocks", [PatcherInjection(self._inject, self._eject)])

    def _inject(self, patcher: ModelPatcher) -> None:
        self._eject(patcher)
        for name, module in patcher.model.diffusion_model.named_modules():
            if self.architecture.blocks.fullmatch(name) and "forward" not in vars(module):
                module.forward = self._recomputing(module.forward)
                self._wrapped.append(module)

    def _eject(self, patcher: ModelPatcher) -> None:
        while self._wrapped:
            del self._wrapped.pop().forward

    def _recomputing(self, forward: Callable) -> Callable:
        def run(*args, **kwargs):
            if not torch.is_grad_enabled():
                return forward(*args, **kwargs)
            sigma = current_sigma()  # the gate of the adapter has to be in backward where it is now
            values = [*args, *kwargs.values()]
            places = [index for index, value in enumerate(values) if isinstance(value, Tensor)]
            # The host rewrites its option dictionaries from block to block.
            values = [dict(value) if isinstance(value, dict) else value for value in values]

            def again(*tensors):
                given = list(values)
                for place, tensor in zip(places, tensors):
                    given[place] = tensor.clone() if self.architecture.mutates_saved_tensors else tensor
                with at_sigma(sigma):
                    return forward(*given[:len(args)], **dict(zip(kwargs, given[len(args):])))

            return recomputed(again, *(values[place] for place in places))

        return run
